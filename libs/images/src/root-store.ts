import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { chmod, chown, mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CommandError, hasCode, mount, MS, run, syncPath, umountAll } from '@berth/linux';
import { Digest } from '@berth/model';
import { confined, confinedId } from './confine.js';
import { Holds } from './holds.js';
import { ImageError } from './image-error.js';
import type { LayerRef, LayerStore } from './layer-store.js';

/** What a root needs of its image. */
export interface RootRef {
  readonly digest: Digest;
  /** Bottom layer first. */
  readonly layers: readonly LayerRef[];
}

const TIMEOUT_MS = 15 * 60_000;
const FILE_BYTES = 64 * 2 ** 30;
/** Private memory of the program: it holds the table of inodes. */
const DATA_BYTES = 1024 * 2 ** 20;
/** mount(2) takes one page of options. */
const OPTIONS_MAX = 4095;

/**
 * Root file systems of OCI images as one read-only file each, for guests with a kernel of their own: `<dir>/<hex>.squashfs`
 * by the digest of the manifest, made once from the unpacked layers. LZ4, because guests that are emulated take it apart
 * fastest. A file appears by rename when it is whole.
 */
export class RootStore {
  private readonly running = new Map<Digest, Promise<string>>();
  private readonly holds = new Holds<Digest>();

  constructor(
    readonly dir: string,
    private readonly layers: Pick<LayerStore, 'ensure'>,
  ) {}

  /**
   * Path of the image's root. Calls at the same time for one image share the work; `signal` ends only this caller's wait.
   * @throws ImageError as of `LayerStore.ensure`; unsupported (too many layers), deadline, hostFault
   */
  async ensure({ digest, layers }: RootRef, signal?: AbortSignal): Promise<string> {
    signal?.throwIfAborted();
    const id = Digest.parse(digest);
    this.holds.keep([id]);
    let work = this.running.get(id);
    if (work === undefined) {
      work = this.has(id).then((there) => (there ? this.path(id) : this.make(id, layers)));
      this.running.set(id, work);
      const done = (): boolean => this.running.delete(id);
      work.then(done, done);
    }
    if (signal === undefined) return work;
    return Promise.race([
      work,
      new Promise<never>((_, reject) =>
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }),
      ),
    ]);
  }

  path(digest: Digest): string {
    return join(this.dir, `${Digest.parse(digest).slice('sha256:'.length)}.squashfs`);
  }

  /** Deletes those of these roots that nobody uses: see {@link LayerStore.collect}. */
  async collect(among: readonly Digest[], used: () => Promise<ReadonlySet<Digest>>): Promise<void> {
    const { kept, release } = this.holds.collection();
    try {
      const inUse = await used();
      for (const id of among)
        // The look and the removal are one turn of the event loop.
        if (!inUse.has(id) && !kept.has(id) && !this.running.has(id)) rmSync(this.path(id), { force: true });
    } finally {
      release();
    }
  }

  /** Sweeps what a crash left half-made. Call once at start, before any `ensure`. */
  async clean(): Promise<void> {
    const names = await readdir(this.dir).catch((error: unknown) => {
      if (hasCode(error, 'ENOENT')) return [];
      throw error;
    });
    for (const name of names) if (name.startsWith('.work-')) await this.sweep(join(this.dir, name));
  }

  private async has(digest: Digest): Promise<boolean> {
    try {
      return (await stat(this.path(digest))).isFile();
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return false;
      throw error;
    }
  }

  private async make(digest: Digest, layers: readonly LayerRef[]): Promise<string> {
    const trees: string[] = [];
    for (const layer of layers) trees.push(await this.layers.ensure(layer));
    // Others pass: QEMU is no root, and opens the files by their path.
    await mkdir(this.dir, { recursive: true, mode: 0o711 });
    const work = join(this.dir, `.work-${randomBytes(8).toString('hex')}`);
    await mkdir(work, { mode: 0o711 });
    try {
      const made = await this.write(work, merged(trees, join(work, 'tree')));
      await chown(made, 0, 0);
      await chmod(made, 0o444);
      await syncPath(made);
      await rename(made, this.path(digest));
      await syncPath(this.dir);
    } finally {
      await this.sweep(work);
    }
    return this.path(digest);
  }

  /**
   * By a process that may read every file and write its own directory, and nothing else: it has no network, no other
   * capability, and an id of its own. The tree is data to it: no program or library of the image is run.
   */
  private async write(work: string, tree: string): Promise<string> {
    const id = confinedId();
    const out = join(work, 'out');
    await mkdir(out, { mode: 0o700 });
    await chown(out, id, id);
    const file = join(out, 'root');
    const quiet = ['-noappend', '-no-progress', '-quiet', '-processors', '1', '-mem', '256M'];
    const args = [tree, file, '-comp', 'lz4', '-xattrs', '-mkfs-time', '0', ...quiet];
    const bounds = {
      fileBytes: FILE_BYTES,
      dataBytes: DATA_BYTES,
      cpuSeconds: TIMEOUT_MS / 1000,
      openFiles: 1024,
    };
    const { command, args: all } = confined(['dac_read_search'], bounds, 'mksquashfs', args, id);
    try {
      await run(command, all, { timeoutMs: TIMEOUT_MS });
    } catch (cause) {
      const said = cause instanceof CommandError ? cause.stderr.trim().slice(-500) : String(cause);
      throw new ImageError(
        'hostFault',
        `the root of the image cannot be written: ${said}`,
        'Look at the free space and health of the disk; the package squashfs-tools must be installed.',
      );
    }
    return file;
  }

  private async sweep(work: string): Promise<void> {
    const tree = join(work, 'tree');
    umountAll(tree);
    await rm(work, { recursive: true, force: true });
  }
}

/** The layers as one tree. One layer is a tree already; several are mounted over each other, to be read only. */
function merged(trees: readonly string[], target: string): string {
  const [only, ...more] = trees;
  if (only === undefined) throw new ImageError('badArchive', 'the image has no layers', 'Use another image.');
  if (more.length === 0) return only;
  // Layers are foreign: no attribute in them may redirect to another path, or lend another file's content.
  const options = `lowerdir=${[...trees].reverse().map(escape).join(':')},redirect_dir=nofollow,metacopy=off,index=off`;
  if (Buffer.byteLength(options) > OPTIONS_MAX)
    throw new ImageError(
      'unsupported',
      `an image of ${trees.length} layers does not fit into one overlay mount`,
      'Flatten the image to fewer layers, or use a shorter state directory.',
    );
  mkdirSync(target, { mode: 0o755 });
  mount('overlay', target, 'overlay', MS.RDONLY | MS.NODEV | MS.NOSUID | MS.NOEXEC, options);
  return target;
}

/** overlayfs splits at `:` and `,` and takes `\` as escape. */
function escape(path: string): string {
  return path.replace(/[\\:,]/g, '\\$&');
}
