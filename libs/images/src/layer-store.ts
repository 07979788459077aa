import { randomBytes } from 'node:crypto';
import { renameSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { run, syncPath, writeFileAtomic } from '@berth/linux';
import { Digest } from '@berth/model';
import { z } from 'zod';
import type { BlobStore } from './blob-store.js';
import { Holds } from './holds.js';
import { ImageError } from './image-error.js';
import { markOpaque } from './opaque-mark.js';
import { ratioBytes } from './tar-entries.js';
import type { LayerLimits } from './unpack-protocol.js';
import { runUnpack, unpackChildEntry } from './unpack-run.js';

export type { LayerLimits } from './unpack-protocol.js';

/** The part of an image's layer that unpacking needs. */
export interface LayerRef {
  readonly digest: Digest;
  readonly diffId: Digest;
  readonly mediaType: string;
}

export interface StoredLayer {
  readonly diffId: Digest;
  /** The unpacked tree. */
  readonly directory: string;
  /** Bytes of its files. */
  readonly bytes: number;
}

export interface LayerStoreOptions {
  readonly limits?: Partial<LayerLimits>;
  /** Program of the unpacking child; default: the one beside this module. */
  readonly childEntry?: string;
}

const defaults: LayerLimits = { tarBytes: 16 * 2 ** 30, entries: 500_000, depth: 64, timeoutMs: 15 * 60_000 };

const LayerFacts = z.object({ diffId: Digest, bytes: z.int(), entries: z.int(), devices: z.int() });

/**
 * Unpacked layers, one directory per diffId: `<dir>/<hex>/tree` and `<dir>/<hex>/layer.json`. Unshifted: owners are
 * those of the image, so `dir` is closed to everyone but root (set-uid programs lie in it). A layer appears by rename
 * after its diffId was verified and its file system was synced.
 */
export class LayerStore {
  private readonly running = new Map<Digest, Promise<string>>();
  private readonly holds = new Holds<Digest>();
  private readonly limits: LayerLimits;

  constructor(
    readonly dir: string,
    private readonly blobs: BlobStore,
    private readonly options: LayerStoreOptions = {},
  ) {
    this.limits = { ...defaults, ...options.limits };
  }

  /**
   * Directory with the unpacked, unshifted layer: a lower directory for overlayfs. Calls at the same time for one layer
   * share the work; `signal` ends only this caller's wait.
   * @throws ImageError missingBlob, badLayer, badDigest, badArchive, unsupported, tooLarge, deadline, hostFault
   */
  async ensure(layer: LayerRef, signal?: AbortSignal): Promise<string> {
    signal?.throwIfAborted();
    const diffId = Digest.parse(layer.diffId);
    this.holds.keep([diffId]);
    let work = this.running.get(diffId);
    if (work === undefined) {
      work = this.find(diffId).then((found) => found?.directory ?? this.unpack(layer));
      this.running.set(diffId, work);
      const done = (): boolean => this.running.delete(diffId);
      work.then(done, done);
    }
    return signal === undefined ? work : Promise.race([work, aborted(signal)]);
  }

  /** Every unpacked layer. */
  async list(): Promise<StoredLayer[]> {
    const layers: StoredLayer[] = [];
    for (const name of await this.names()) {
      const diffId = Digest.safeParse(`sha256:${name}`);
      const layer = diffId.success ? await this.find(diffId.data) : null;
      if (layer !== null) layers.push(layer);
    }
    return layers;
  }

  /**
   * Deletes those of these layers that nobody uses: `used` is asked after the collection began; what is ensured meanwhile
   * stays. The caller knows that nothing mounts what `used` does not name.
   */
  async collect(among: readonly Digest[], used: () => Promise<ReadonlySet<Digest>>): Promise<void> {
    const { kept, release } = this.holds.collection();
    const graves: string[] = [];
    try {
      const inUse = await used();
      for (const diffId of among) {
        // The look and the removal are one turn of the event loop.
        if (inUse.has(diffId) || kept.has(diffId) || this.running.has(diffId)) continue;
        const grave = this.temporary();
        if (movedAway(join(this.dir, hexOf(diffId)), grave)) graves.push(grave);
      }
    } finally {
      release();
    }
    for (const grave of graves) await rm(grave, { recursive: true, force: true });
  }

  /** Deletes an unpacked layer; deleting what is not here is no error. The caller knows that nothing mounts it. */
  async remove(diffId: Digest): Promise<void> {
    await this.running.get(diffId)?.catch(() => undefined);
    const grave = this.temporary();
    try {
      await rename(join(this.dir, hexOf(diffId)), grave);
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw e;
    }
    await rm(grave, { recursive: true, force: true });
  }

  /** Sweeps what a crash left half-unpacked or half-deleted. Call once at start, before any `ensure`. */
  async clean(): Promise<void> {
    for (const name of await this.names())
      if (name.startsWith('.work-')) await rm(join(this.dir, name), { recursive: true, force: true });
  }

  private async unpack(layer: LayerRef): Promise<string> {
    const { digest, diffId, mediaType } = layer;
    const compression = compressionOf(mediaType);
    const blobBytes = await this.blobs.size(digest);
    if (blobBytes === null)
      throw new ImageError('missingBlob', `layer ${digest} is not on this host`, 'Fetch the image again.');
    await mkdir(this.dir, { recursive: true, mode: 0o700 });
    const work = this.temporary();
    const tree = join(work, 'tree');
    await mkdir(work, { mode: 0o700 });
    try {
      await mkdir(tree, { mode: 0o755 });
      const tarBytes = Math.min(this.limits.tarBytes, ratioBytes(blobBytes));
      const limits = { ...this.limits, tarBytes };
      const order = { directory: tree, gzip: compression === 'gzip', limits };
      const entry = this.options.childEntry ?? (await unpackChildEntry());
      const answer = await runUnpack(entry, this.blobs.path(digest), order, compression === 'zstd');
      if (answer.diffId !== diffId)
        throw new ImageError(
          'badDigest',
          `layer ${digest} unpacks to ${answer.diffId}, not to its diffId ${diffId}`,
          'Build the image again: its configuration does not belong to its layers.',
        );
      markOpaque(tree, answer.opaque);
      const { bytes, entries, devices } = answer;
      await writeFileAtomic(join(work, 'layer.json'), JSON.stringify({ diffId, bytes, entries, devices }));
      // syncfs(2): one call for all files. Without it a power cut could leave a visible layer with empty files.
      await run('sync', ['-f', tree], { timeoutMs: 120_000 });
      await rename(work, join(this.dir, hexOf(diffId)));
      await syncPath(this.dir);
    } catch (e) {
      await rm(work, { recursive: true, force: true });
      throw e;
    }
    return this.treeOf(diffId);
  }

  private async find(diffId: Digest): Promise<StoredLayer | null> {
    try {
      const text = await readFile(join(this.dir, hexOf(diffId), 'layer.json'), 'utf8');
      const { bytes } = LayerFacts.parse(JSON.parse(text));
      return { diffId, directory: this.treeOf(diffId), bytes };
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw e;
    }
  }

  private async names(): Promise<string[]> {
    try {
      return await readdir(this.dir);
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw e;
    }
  }

  private treeOf(diffId: Digest): string {
    return join(this.dir, hexOf(diffId), 'tree');
  }

  private temporary(): string {
    return join(this.dir, `.work-${randomBytes(8).toString('hex')}`);
  }
}

/** False when there is nothing to move. */
function movedAway(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw e;
  }
}

function compressionOf(mediaType: string): 'none' | 'gzip' | 'zstd' {
  if (mediaType.endsWith('.tar')) return 'none';
  if (mediaType.endsWith('+gzip') || mediaType.endsWith('.tar.gzip')) return 'gzip';
  if (mediaType.endsWith('+zstd')) return 'zstd';
  throw new ImageError(
    'unsupported',
    `layer type ${mediaType} is not taken`,
    'Use tar, gzip or zstd layers.',
  );
}

function hexOf(digest: Digest): string {
  return Digest.parse(digest).slice('sha256:'.length);
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) =>
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }),
  );
}
