import type { BigIntStats } from 'node:fs';
import { attributesAt, deviceParts } from '@berth/linux';
import { ImageError } from './image-error.js';
import { isMountPoint, isOpaque, isWhiteout, pathText, type UpperLayer } from './layer-changes.js';
import { OpenDirectory } from './open-directory.js';
import { TAR_END, tarHeader, tarPadding, type TarEntryHead } from './tar-write.js';
import { guestAttributes, idIn } from './upper-attributes.js';

export interface PackLimits {
  /** Bytes of the tar. */
  readonly tarBytes: number;
  readonly entries: number;
  /** Components of one path. */
  readonly depth: number;
}

/** What {@link LayerStore} takes, so that what is packed can be unpacked again. */
export const packLimits: PackLimits = { tarBytes: 16 * 2 ** 30, entries: 500_000, depth: 64 };

/** Linux takes 4095 for a path; the directory that a layer is unpacked in stands before it. */
const PATH_BYTES = 3072;
const CHUNK = 1024 * 1024;
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * The tar of a writable layer (OCI image-spec, "Image Layer Filesystem Changeset"): all of the upper directory of overlayfs but its root,
 * with whiteouts and opaque directories as that has them, hard links, fifos, sparse files in full, owners as the container
 * sees them, times to the nanosecond and the guest's extended attributes. Left out are sockets, which are nothing without
 * their process, and the places of mounts. Nobody may write the layer meanwhile; a file that changes all the same is an error.
 * @throws ImageError badLayer (what a layer cannot hold, by name), tooLarge
 */
export async function* layerTar(
  upper: UpperLayer,
  limits: PackLimits,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const root = await OpenDirectory.at(upper.directory);
  let bytes = 0;
  try {
    const packer = new LayerPacker(upper, limits, signal);
    for await (const chunk of packer.directory(root, [])) {
      bytes += chunk.length;
      // Before a large file is read, not after.
      if (bytes + packer.ahead > limits.tarBytes) throw tooLarge(limits.tarBytes);
      yield chunk;
    }
    yield TAR_END;
  } finally {
    await root.close();
  }
}

class LayerPacker {
  /** Content that the last header announced, bytes. */
  ahead = 0;
  private entries = 0;
  /** First names of files that have several. */
  private readonly links = new Map<string, string>();

  constructor(
    private readonly upper: UpperLayer,
    private readonly limits: PackLimits,
    private readonly signal: AbortSignal,
  ) {}

  async *directory(parent: OpenDirectory, path: readonly Buffer[]): AsyncGenerator<Buffer> {
    for (const name of await parent.names()) {
      this.signal.throwIfAborted();
      const at = [...path, name];
      const found = await parent.look(name);
      if (found === null) throw changed(at);
      if (found.isSocket()) continue;
      if (await isMountPoint(this.upper, at, found, () => parent.directory(name))) continue;
      const text = this.nameOf(at);
      if (isWhiteout(found)) yield this.mark(path, `.wh.${name.toString('utf8')}`, found);
      else if (found.isDirectory()) yield* this.subdirectory(parent, at, text, found);
      else yield* this.leaf(parent, at, text, found);
    }
  }

  private async *subdirectory(
    parent: OpenDirectory,
    path: readonly Buffer[],
    text: string,
    found: BigIntStats,
  ): AsyncGenerator<Buffer> {
    const inner = await parent.directory(path.at(-1) ?? Buffer.alloc(0));
    if (inner === null) throw changed(path);
    try {
      yield this.head(parent, path, found, { name: text, type: 'directory' });
      if (isOpaque(inner)) yield this.mark(path, '.wh..wh..opq', found);
      yield* this.directory(inner, path);
    } finally {
      await inner.close();
    }
  }

  private async *leaf(
    parent: OpenDirectory,
    path: readonly Buffer[],
    text: string,
    found: BigIntStats,
  ): AsyncGenerator<Buffer> {
    const name = path.at(-1) ?? Buffer.alloc(0);
    const inode = `${found.dev}:${found.ino}`;
    const first = found.nlink > 1n ? this.links.get(inode) : undefined;
    if (first !== undefined)
      return yield this.head(parent, path, found, { name: text, type: 'link', linkname: first });
    if (found.nlink > 1n) this.links.set(inode, text);
    if (found.isSymbolicLink()) {
      const linkname = utf8(await parent.readlink(name));
      if (linkname === null) throw unfit(path, 'links to a name that is not UTF-8');
      return yield this.head(parent, path, found, { name: text, type: 'symlink', linkname });
    }
    if (found.isFIFO()) return yield this.head(parent, path, found, { name: text, type: 'fifo' });
    if (!found.isFile()) {
      const type = found.isCharacterDevice() ? ('character-device' as const) : ('block-device' as const);
      return yield this.head(parent, path, found, { name: text, type, device: deviceParts(found.rdev) });
    }
    this.ahead = Number(found.size);
    yield this.head(parent, path, found, { name: text, type: 'file', size: Number(found.size) });
    this.ahead = 0;
    yield* this.content(parent, path, found);
    yield tarPadding(Number(found.size));
  }

  /** Exactly as many bytes as were announced. @throws ImageError badLayer when it is another file by now, or of another size */
  private async *content(
    parent: OpenDirectory,
    path: readonly Buffer[],
    found: BigIntStats,
  ): AsyncGenerator<Buffer> {
    const file = await parent.file(path.at(-1) ?? Buffer.alloc(0)).catch(() => null);
    if (file === null) throw changed(path);
    try {
      const now = await file.stat({ bigint: true });
      if (now.ino !== found.ino || now.size !== found.size || !now.isFile()) throw changed(path);
      for (let left = Number(found.size); left > 0;) {
        this.signal.throwIfAborted();
        const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(Math.min(CHUNK, left)));
        if (bytesRead === 0) throw changed(path);
        left -= bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
      if ((await file.stat({ bigint: true })).mtimeNs !== found.mtimeNs) throw changed(path);
    } finally {
      await file.close();
    }
  }

  private head(
    parent: OpenDirectory,
    path: readonly Buffer[],
    found: BigIntStats,
    own: Pick<TarEntryHead, 'name' | 'type'> & Partial<TarEntryHead>,
  ): Buffer {
    this.count();
    const of = pathText(path);
    const { ids } = this.upper;
    const name = path.at(-1) ?? Buffer.alloc(0);
    const attributes =
      own.type === 'symlink' || own.type === 'link'
        ? new Map<string, Buffer>()
        : guestAttributes(attributesAt(parent.path(name).toString('utf8')), ids, of);
    return tarHeader({
      size: 0,
      mode: Number(found.mode & 0o7777n),
      uid: idIn(ids, Number(found.uid), of),
      gid: idIn(ids, Number(found.gid), of),
      mtime: found.mtimeNs,
      attributes,
      ...own,
    });
  }

  /** A name that says what of the layers below is gone. */
  private mark(parent: readonly Buffer[], name: string, found: BigIntStats): Buffer {
    this.count();
    const path = [...parent.map((part) => part.toString('utf8')), name].join('/');
    return tarHeader({ name: path, type: 'file', mode: 0, uid: 0, gid: 0, size: 0, mtime: found.mtimeNs });
  }

  private count(): void {
    this.entries += 1;
    if (this.entries > this.limits.entries)
      throw new ImageError(
        'tooLarge',
        `what the container changed has more than ${this.limits.entries} entries`,
        'Remove what the image does not need, such as caches.',
      );
  }

  /** As it stands in the tar. @throws ImageError badLayer for what the format, or whoever unpacks it, cannot hold */
  private nameOf(path: readonly Buffer[]): string {
    if (path.length > this.limits.depth) throw unfit(path, `is deeper than ${this.limits.depth} directories`);
    if (path.at(-1)?.subarray(0, 4).toString('latin1') === '.wh.')
      throw unfit(path, 'has a name that begins with ".wh.", which in a layer means that something is gone');
    const parts = path.map(utf8);
    if (parts.includes(null)) throw unfit(path, 'has a name that is not UTF-8');
    const text = parts.join('/');
    if (Buffer.byteLength(text) > PATH_BYTES) throw unfit(path, `has a path longer than ${PATH_BYTES} bytes`);
    return text;
  }
}

/** Null for what is not UTF-8. */
function utf8(name: Buffer): string | null {
  try {
    return strict.decode(name);
  } catch {
    return null;
  }
}

const unfit = (path: readonly Buffer[], why: string): ImageError =>
  new ImageError(
    'badLayer',
    `${shown(path)} ${why}`,
    'Rename or remove it in the container, and commit again.',
  );

const changed = (path: readonly Buffer[]): ImageError =>
  new ImageError('badLayer', `${shown(path)} changed while it was read`, 'Commit again.');

const shown = (path: readonly Buffer[]): string => pathText(path).slice(0, 300);

const tooLarge = (bytes: number): ImageError =>
  new ImageError(
    'tooLarge',
    `what the container changed has more than ${bytes} bytes, counting sparse files in full`,
    'Remove what the image does not need, or raise uploadMaxMiB in the configuration of the API.',
  );
