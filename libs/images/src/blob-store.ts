import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, renameSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { chmod, link, mkdir, open, readdir, rename, rm, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { syncPath } from '@berth/linux';
import type { Digest } from '@berth/model';
import { Digest as DigestSchema } from '@berth/model';
import { type Hold, Holds } from './holds.js';
import { ImageError } from './image-error.js';

export interface StoredBlob {
  readonly digest: Digest;
  readonly sizeBytes: number;
}

export interface PutOptions {
  /** Refuse content that does not hash to this. */
  readonly digest?: Digest;
  /** Refuse content longer than this many bytes. */
  readonly maxBytes: number;
}

/**
 * Immutable content by digest (OCI image-layout, "blobs"): `<dir>/sha256/<hex>`, read-only files.
 * A blob becomes visible by fsync + rename after its digest was verified; what a crash left in `<dir>/staging` is swept by
 * {@link BlobStore.clean}. Modes: the directory can be entered but not listed by others and blobs are readable, because
 * QEMU reads base images as an unprivileged user; how far others get is decided by the directories above.
 */
export class BlobStore {
  private readonly holds = new Holds<Digest>();

  constructor(readonly dir: string) {}

  /** What is published, or relied on, from now on is not collected until the release. */
  hold(): Hold {
    return this.holds.hold();
  }

  /** Said by whoever is about to use blobs, before looking whether they are here: a collection under way leaves them. */
  rely(digests: Iterable<Digest>): void {
    this.holds.keep(digests);
  }

  /**
   * Removes blobs that nobody uses: of `among`, or of all. `used` is asked after the collection began, and must name
   * everything that is on record by then; what is published, relied on or held meanwhile stays too.
   */
  async collect(
    used: () => Promise<ReadonlySet<Digest>>,
    among: readonly Digest[] | null = null,
  ): Promise<StoredBlob[]> {
    const { kept, release } = this.holds.collection();
    try {
      const found = (await this.list()).filter(({ digest }) => among === null || among.includes(digest));
      if (found.length === 0) return [];
      const inUse = await used();
      const free = found.filter(({ digest }) => !inUse.has(digest));
      const graves = join(this.dir, 'staging', `graves-${randomBytes(8).toString('hex')}`);
      await mkdir(graves, { recursive: true, mode: 0o700 });
      const gone: StoredBlob[] = [];
      for (const blob of free) {
        // The look and the removal are one turn: nobody can begin to rely on it between them.
        if (kept.has(blob.digest)) continue;
        renameSync(this.path(blob.digest), join(graves, hexOf(blob.digest)));
        gone.push(blob);
      }
      await rm(graves, { recursive: true, force: true });
      return gone;
    } finally {
      release();
    }
  }

  /** Path of a blob, whether it is there or not. */
  path(digest: Digest): string {
    return join(this.dir, 'sha256', hexOf(digest));
  }

  async has(digest: Digest): Promise<boolean> {
    return (await this.size(digest)) !== null;
  }

  /** Size in bytes, or null when the blob is not here. */
  async size(digest: Digest): Promise<number | null> {
    try {
      return (await stat(this.path(digest))).size;
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw e;
    }
  }

  /** A blob's bytes. @throws ImageError missingBlob */
  async open(digest: Digest): Promise<{ readonly stream: Readable; readonly sizeBytes: number }> {
    const sizeBytes = await this.size(digest);
    if (sizeBytes === null) throw missing(digest);
    return { stream: createReadStream(this.path(digest)), sizeBytes };
  }

  /** A small blob whole. @throws ImageError missingBlob, tooLarge */
  async read(digest: Digest, maxBytes: number): Promise<Buffer> {
    const { stream, sizeBytes } = await this.open(digest);
    if (sizeBytes > maxBytes) {
      stream.destroy();
      throw tooLarge(maxBytes);
    }
    const parts: Buffer[] = [];
    for await (const part of stream) parts.push(part as Buffer);
    return Buffer.concat(parts);
  }

  /**
   * Stores a stream. Verified, fsynced and renamed into place; a blob that is here already is kept and the stream dropped.
   * @throws ImageError badDigest, tooLarge
   */
  async put(stream: Readable, options: PutOptions): Promise<StoredBlob> {
    if (options.digest !== undefined) {
      this.rely([options.digest]);
      const sizeBytes = await this.size(options.digest);
      if (sizeBytes !== null) {
        stream.destroy();
        return { digest: options.digest, sizeBytes };
      }
    }
    const staging = await this.stage();
    try {
      const blob = await staging.write(stream, options);
      await staging.publish([blob.digest]);
      return blob;
    } finally {
      await staging.discard();
    }
  }

  /** Opens a staging area: what is written there is hashed, and visible only after `publish`. */
  async stage(): Promise<BlobStaging> {
    const dir = join(this.dir, 'staging', `${process.pid}-${randomBytes(8).toString('hex')}`);
    await mkdir(this.dir, { recursive: true, mode: 0o711 });
    await mkdir(join(this.dir, 'sha256'), { recursive: true, mode: 0o711 });
    await mkdir(dir, { recursive: true, mode: 0o700 });
    return new BlobStaging(this, dir);
  }

  /** Deletes a blob; deleting what is not here is no error. */
  async remove(digest: Digest): Promise<void> {
    await rm(this.path(digest), { force: true });
  }

  /** Every blob that is here. */
  async list(): Promise<StoredBlob[]> {
    const names = await readdir(join(this.dir, 'sha256')).catch(emptyWhenAbsent);
    const found: StoredBlob[] = [];
    for (const name of names.sort()) {
      const digest = DigestSchema.safeParse(`sha256:${name}`);
      if (!digest.success) continue;
      const sizeBytes = await this.size(digest.data);
      if (sizeBytes !== null) found.push({ digest: digest.data, sizeBytes });
    }
    return found;
  }

  /** Sweeps what a crash left half-written. Call once at start, before anything is put: it takes every staging area. */
  async clean(): Promise<void> {
    await rm(join(this.dir, 'staging'), { recursive: true, force: true });
  }
}

/** Blobs on their way in. Always `discard()` at the end; after `publish` that only drops what was not published. */
export class BlobStaging {
  private readonly staged = new Map<Digest, { path: string; sizeBytes: number }>();
  private next = 0;

  constructor(
    private readonly store: BlobStore,
    private readonly dir: string,
  ) {}

  /** Writes one stream and hashes it on the way. @throws ImageError badDigest, tooLarge */
  async write(stream: AsyncIterable<Uint8Array>, options: PutOptions): Promise<StoredBlob> {
    const path = join(this.dir, String(this.next++));
    const file = await open(path, 'wx', 0o400);
    const hash = createHash('sha256');
    let sizeBytes = 0;
    try {
      for await (const chunk of stream) {
        sizeBytes += chunk.length;
        if (sizeBytes > options.maxBytes) throw tooLarge(options.maxBytes);
        hash.update(chunk);
        await writeAll(file, chunk);
      }
      await file.sync();
    } catch (e) {
      await rm(path, { force: true });
      throw e;
    } finally {
      await file.close();
    }
    const digest = DigestSchema.parse(`sha256:${hash.digest('hex')}`);
    if (options.digest !== undefined && options.digest !== digest) {
      await rm(path, { force: true });
      throw new ImageError(
        'badDigest',
        `the content hashes to ${digest}, not to ${options.digest}`,
        'The file was damaged or changed on its way: fetch or build it again.',
      );
    }
    if (this.staged.has(digest)) await unlink(path);
    else this.staged.set(digest, { path, sizeBytes });
    return { digest, sizeBytes };
  }

  /**
   * Takes a whole file of the same file system, by a hard link: it must not change any more. `known` spares reading it, where
   * the caller has just done that.
   */
  async adopt(file: string, known?: StoredBlob): Promise<StoredBlob> {
    const blob = known ?? (await fileDigest(file));
    if (this.staged.has(blob.digest)) return blob;
    const path = join(this.dir, String(this.next++));
    await link(file, path);
    this.staged.set(blob.digest, { path, sizeBytes: blob.sizeBytes });
    return blob;
  }

  /** Path of a staged blob, to look into it before it is published; null when it is not staged here. */
  path(digest: Digest): string | null {
    return this.staged.get(digest)?.path ?? null;
  }

  size(digest: Digest): number | null {
    return this.staged.get(digest)?.sizeBytes ?? null;
  }

  /** Makes these staged blobs visible. Blobs the store had already are kept as they are. @throws ImageError missingBlob */
  async publish(digests: Iterable<Digest>): Promise<void> {
    const wanted = [...new Set(digests)];
    this.store.rely(wanted);
    for (const digest of wanted)
      if (!this.staged.has(digest) && !(await this.store.has(digest))) throw missing(digest);
    for (const digest of wanted) {
      const blob = this.staged.get(digest);
      if (blob === undefined) continue;
      await chmod(blob.path, 0o444);
      await rename(blob.path, this.store.path(digest));
      this.staged.delete(digest);
    }
    await syncPath(join(this.store.dir, 'sha256'));
  }

  async discard(): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
  }
}

async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length;) at += (await file.write(chunk, at)).bytesWritten;
}

function hexOf(digest: Digest): string {
  // Parsed again at this border: the hex becomes a file name.
  return DigestSchema.parse(digest).slice('sha256:'.length);
}

/** Digest and size of a file. */
export async function fileDigest(path: string): Promise<StoredBlob> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) {
    hash.update(chunk as Buffer);
    sizeBytes += (chunk as Buffer).length;
  }
  return { digest: DigestSchema.parse(`sha256:${hash.digest('hex')}`), sizeBytes };
}

function missing(digest: Digest): ImageError {
  return new ImageError(
    'missingBlob',
    `blob ${digest} is not in the store`,
    'Upload or fetch the image again.',
  );
}

function tooLarge(maxBytes: number): ImageError {
  return new ImageError(
    'tooLarge',
    `the content is larger than ${maxBytes} bytes`,
    'Use a smaller image, or raise the limit.',
  );
}

function emptyWhenAbsent(e: NodeJS.ErrnoException): string[] {
  if (e.code === 'ENOENT') return [];
  throw e;
}
