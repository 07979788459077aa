import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { ImageError } from './image-error.js';
import { keptAttributes } from './layer-attributes.js';
import type { NodeCalls } from './node-make.js';
import type { TarEntry } from './tar-entries.js';
import { archivePath, tarEntries } from './tar-entries.js';
import type { TarHeader } from './tar-header.js';
import type { LayerLimits, UnpackAnswer } from './unpack-protocol.js';

const [E2BIG, EINVAL, ENOSPC, ERANGE] = [7, 22, 28, 34];
/** All names together, characters: they are held in memory until the end. */
const NAME_BYTES = 64 * 2 ** 20;
/** Names of opaque directories, characters: they travel in the answer. */
const OPAQUE_BYTES = 2 * 2 ** 20;

/**
 * Writes one layer's tar (OCI image-spec, "Image Layer Filesystem Changeset") below `root`, unshifted. File calls are
 * synchronous: they then run on the one thread whose capabilities were narrowed.
 *
 * - Whiteouts `.wh.<name>` become overlayfs whiteouts, unless the same layer also has `<name>`; a directory replaced in
 *   this way, and one with `.wh..wh..opq`, is reported as opaque.
 * - Device nodes are left out and counted: the runtime gives a container its own /dev.
 * - A path through a symbolic link of the same layer is refused, as are `..` and absolute names. The chroot would hold
 *   them, but a layer that has such names means harm or is broken.
 * - Of extended attributes those are kept that a guest may have: see {@link keptAttributes}.
 */
export class LayerUnpacker {
  private readonly directories = new Set<string>(['']);
  private readonly times = new Map<string, bigint>();
  private readonly whiteouts = new Set<string>();
  private readonly opaque = new Set<string>();
  private entries = 0;
  private nameBytes = 0;
  private opaqueBytes = 0;
  private bytes = 0;
  private devices = 0;

  constructor(
    private readonly root: string,
    private readonly limits: LayerLimits,
    private readonly calls: NodeCalls,
  ) {}

  /** @throws ImageError badLayer, badArchive, tooLarge */
  async unpack(tar: Readable): Promise<UnpackAnswer> {
    const hash = createHash('sha256');
    const hashed = Readable.from(
      (async function* () {
        for await (const chunk of tar) {
          hash.update(chunk as Buffer);
          yield chunk as Buffer;
        }
      })(),
      { objectMode: false },
    );
    for await (const entry of tarEntries(hashed, this.limits.tarBytes)) {
      this.count(entry.header.name);
      await this.place(entry);
    }
    this.finish();
    const { bytes, entries, devices } = this;
    const diffId = `sha256:${hash.digest('hex')}`;
    return { ok: true, diffId, bytes, entries, devices, opaque: [...this.opaque] };
  }

  /** Every name of the archive and every directory that it only implies takes an inode and a place in memory. */
  private count(name: string): void {
    this.entries++;
    this.nameBytes += name.length;
    if (this.entries > this.limits.entries)
      throw new ImageError('tooLarge', `the layer has more than ${this.limits.entries} entries`, '');
    if (this.nameBytes > NAME_BYTES)
      throw new ImageError('tooLarge', `the names of the layer have more than ${NAME_BYTES} characters`, '');
  }

  private async place(entry: TarEntry): Promise<void> {
    const header = entry.header;
    const parts = archivePath(header.name, this.limits.depth, 'badLayer');
    const base = parts.at(-1) ?? '';
    const hidden = parts.slice(0, -1).find((part) => part.startsWith('.wh.'));
    if (hidden?.startsWith('.wh..wh.') === true) return;
    if (hidden !== undefined) throw bad(header.name, 'lies below a whiteout');
    const parent = this.parentOf(parts);
    if (base.startsWith('.wh.')) this.whiteout(parent, base.slice('.wh.'.length));
    else if (header.type === 'directory') this.makeDirectory(parts, header);
    else if (parts.length === 0) throw bad(header.name, `makes the root a ${header.type}`);
    else await this.makeFile(entry, parts.join('/'));
  }

  /** Makes sure that every parent is a real directory of this layer, and returns the last. */
  private parentOf(parts: readonly string[]): string {
    let path = '';
    for (const part of parts.slice(0, -1)) {
      path = path === '' ? part : `${path}/${part}`;
      if (this.directories.has(path)) continue;
      const kind = this.kindOf(path);
      if (kind === 'link') throw bad(parts.join('/'), `passes through the symbolic link ${path}`);
      if (kind === 'other') throw bad(parts.join('/'), `lies below ${path}, which is no directory`);
      if (kind === 'absent') {
        this.count(path);
        mkdirSync(this.at(path), { mode: 0o755 });
        chownSync(this.at(path), 0, 0); // no entry states whose it is, and this process is not root
      }
      this.directories.add(path);
    }
    return path;
  }

  private whiteout(parent: string, name: string): void {
    if (name === '.wh..opq') this.hide(parent);
    // Other names below `.wh..wh.` are bookkeeping of aufs.
    else if (name.startsWith('.wh.')) return;
    else if (name === '' || name === '.' || name === '..')
      throw bad(`.wh.${name}`, 'hides nothing that can exist');
    else this.whiteouts.add(parent === '' ? name : `${parent}/${name}`);
  }

  private hide(directory: string): void {
    if (this.opaque.has(directory)) return;
    this.opaque.add(directory);
    this.opaqueBytes += directory.length;
    if (this.opaqueBytes > OPAQUE_BYTES)
      throw new ImageError('tooLarge', 'the layer hides too many directories', '');
  }

  private makeDirectory(parts: readonly string[], header: TarHeader): void {
    const path = parts.join('/');
    if (!this.directories.has(path)) {
      const kind = this.kindOf(path);
      if (kind === 'link' || kind === 'other') unlinkSync(this.at(path));
      if (kind !== 'directory') mkdirSync(this.at(path), { mode: 0o755 });
      this.directories.add(path);
    }
    chownSync(this.at(path), ...this.owner(header));
    chmodSync(this.at(path), modeOf(header));
    this.setAttributes(this.at(path), header);
    // Set at the end: what is written into the directory would change it.
    this.times.set(path, header.mtime);
  }

  private async makeFile(entry: TarEntry, path: string): Promise<void> {
    const header = entry.header;
    const full = this.at(path);
    if (header.type === 'character-device' || header.type === 'block-device') {
      this.devices++;
      return;
    }
    const kind = this.kindOf(path);
    if (kind === 'directory') throw bad(path, 'replaces a directory of the same layer');
    // A hard link onto itself is a repeated entry: it must not take away its own target.
    const target = header.type === 'link' ? this.linkTarget(path, header) : null;
    if (target === path) return;
    if (kind !== 'absent') unlinkSync(full);
    if (target !== null) return linkSync(this.at(target), full);
    if (header.type === 'symlink') return this.makeSymlink(full, header);
    if (header.type === 'fifo') {
      this.calls.make(full, 'fifo');
      lchownSync(full, ...this.owner(header));
      chmodSync(full, modeOf(header));
      return this.calls.times(full, header.mtime);
    }
    await this.writeFile(entry, full);
  }

  private async writeFile(entry: TarEntry, full: string): Promise<void> {
    const header = entry.header;
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const file = openSync(full, flags, 0o600);
    try {
      for await (const bytes of entry.content) {
        for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at);
        this.bytes += bytes.length;
      }
      // The mode comes after the owner: chown clears the set-uid bit.
      fchownSync(file, ...this.owner(header));
      fchmodSync(file, modeOf(header));
    } finally {
      closeSync(file);
    }
    // Last but for the time: a write, and a change of owner, take capabilities away.
    this.setAttributes(full, header);
    this.calls.times(full, header.mtime);
  }

  private setAttributes(full: string, { attributes, name, type }: TarHeader): void {
    for (const [attribute, value] of keptAttributes(attributes, type)) {
      try {
        this.calls.attribute(full, attribute, value);
      } catch (error) {
        const why = (error as NodeJS.ErrnoException).errno;
        if (why === EINVAL) throw bad(name, `has an attribute ${attribute} that the kernel does not take`);
        if (why === ENOSPC || why === E2BIG || why === ERANGE)
          throw new ImageError(
            'tooLarge',
            `the attributes of ${JSON.stringify(name.slice(0, 200))} are too large`,
            '',
          );
        throw error;
      }
    }
  }

  private makeSymlink(full: string, header: TarHeader): void {
    const target = header.linkname;
    if (target === '' || Buffer.byteLength(target) > 4095)
      throw bad(header.name, 'has no usable link target');
    symlinkSync(target, full);
    lchownSync(full, ...this.owner(header));
    this.calls.times(full, header.mtime);
  }

  private linkTarget(path: string, header: TarHeader): string {
    const parts = archivePath(header.linkname, this.limits.depth, 'badLayer');
    this.parentOf(parts);
    const target = parts.join('/');
    const kind = this.kindOf(target);
    if (kind === 'absent') throw bad(path, `links to ${target}, which is not in this layer`);
    if (kind === 'directory') throw bad(path, `links to the directory ${target}`);
    return target;
  }

  private finish(): void {
    for (const path of this.whiteouts) {
      const kind = this.kindOf(path);
      if (kind === 'absent') {
        this.calls.make(this.at(path), 'whiteout');
        lchownSync(this.at(path), 0, 0);
      } else if (kind === 'directory') this.hide(path);
    }
    for (const [path, time] of this.times) this.calls.times(this.at(path), time);
  }

  private owner(header: TarHeader): [number, number] {
    const { uid, gid } = header;
    for (const id of [uid, gid]) if (id > 0x7fffffff) throw bad(header.name, `has the owner ${id}`);
    return [uid, gid];
  }

  private kindOf(path: string): 'absent' | 'directory' | 'link' | 'other' {
    const found = lstatSync(this.at(path), { throwIfNoEntry: false });
    if (found === undefined) return 'absent';
    return found.isDirectory() ? 'directory' : found.isSymbolicLink() ? 'link' : 'other';
  }

  private at(path: string): string {
    return join(this.root, path);
  }
}

function modeOf(header: TarHeader): number {
  return header.mode & 0o7777;
}

function bad(name: string, why: string): ImageError {
  return new ImageError(
    'badLayer',
    `entry ${JSON.stringify(name.slice(0, 200))} ${why}`,
    'Build the image again with a current tool.',
  );
}
