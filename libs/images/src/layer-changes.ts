import type { BigIntStats } from 'node:fs';
import { attributeOf } from '@berth/linux';
import { OpenDirectory } from './open-directory.js';
import type { IdRange } from './upper-attributes.js';

/** A writable layer as its host has it. */
export interface UpperLayer {
  /** The upper directory of overlayfs. */
  readonly directory: string;
  readonly ids: IdRange;
  /** Where things are mounted in the container: an empty file or directory there is only the place for it. */
  readonly mountPoints: ReadonlySet<string>;
}

export interface LayerChange {
  /** Components from the root on; any bytes but NUL and "/". */
  readonly path: readonly Buffer[];
  readonly change: 'added' | 'changed' | 'deleted';
  readonly type: 'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'device';
  /** Of a file that is there. */
  readonly sizeBytes: number | null;
}

const OPAQUE = 'trusted.overlay.opaque';

/** A whiteout of overlayfs: what lies below that name is gone. */
export const isWhiteout = (found: BigIntStats): boolean => found.isCharacterDevice() && found.rdev === 0n;

/** Whether what lies below the directory is hidden. */
export const isOpaque = (directory: OpenDirectory): boolean =>
  attributeOf(directory.fd, OPAQUE)?.toString('latin1') === 'y';

/** An empty file or directory that was only made for something to be mounted over it. */
export async function isMountPoint(
  upper: Pick<UpperLayer, 'mountPoints'>,
  path: readonly Buffer[],
  found: BigIntStats,
  open: () => Promise<OpenDirectory | null>,
): Promise<boolean> {
  if (!upper.mountPoints.has(`/${path.map((part) => part.toString('latin1')).join('/')}`)) return false;
  if (!found.isDirectory()) return found.isFile() && found.size === 0n;
  const directory = await open();
  try {
    // Mount points lie in each other: /dev/pts in /dev.
    for (const name of (await directory?.names()) ?? []) {
      const inner = [...path, name];
      const look = await directory?.look(name);
      if (!look) continue;
      const within = () => directory?.directory(name) ?? Promise.resolve(null);
      if (!(await isMountPoint(upper, inner, look, within))) return false;
    }
    return true;
  } finally {
    await directory?.close();
  }
}

/**
 * What a writable layer changes of the tree below it, parents before what is in them, names in the order of their bytes. A directory that is
 * gone is one change; one whose own owner and mode are as they were is none. May be called while the guest writes: what is
 * changed meanwhile is told as it is found, and no name of the guest's leads out of the two trees.
 * @param lower the merged tree of the image, unshifted @param after go on after this path
 */
export async function* layerChanges(
  upper: UpperLayer,
  lower: string,
  after: readonly Buffer[],
  signal: AbortSignal,
): AsyncGenerator<LayerChange> {
  const [above, below] = [await OpenDirectory.at(upper.directory), await OpenDirectory.at(lower)];
  try {
    yield* new Walk(upper, signal).directory(above, below, [], after);
  } finally {
    await above.close();
    await below.close();
  }
}

class Walk {
  constructor(
    private readonly upper: UpperLayer,
    private readonly signal: AbortSignal,
  ) {}

  async *directory(
    above: OpenDirectory,
    below: OpenDirectory | null,
    path: readonly Buffer[],
    after: readonly Buffer[],
  ): AsyncGenerator<LayerChange> {
    const [first, ...rest] = after;
    for (const name of await this.names(above, below)) {
      this.signal.throwIfAborted();
      const order = first === undefined ? 1 : name.compare(first);
      if (order < 0) continue;
      const at = [...path, name];
      const is = await above.look(name);
      const was = (await below?.look(name)) ?? null;
      if (is === null || isWhiteout(is)) {
        if (was !== null && order > 0) yield change(at, 'deleted', was);
        continue;
      }
      if (was === null && (await isMountPoint(this.upper, at, is, () => above.directory(name)))) continue;
      if (order > 0 && this.differs(is, was)) yield change(at, was === null ? 'added' : 'changed', is);
      if (is.isDirectory()) yield* this.inside(above, below, at, order === 0 ? rest : []);
    }
  }

  private async *inside(
    above: OpenDirectory,
    below: OpenDirectory | null,
    path: readonly Buffer[],
    after: readonly Buffer[],
  ): AsyncGenerator<LayerChange> {
    const name = path.at(-1) ?? Buffer.alloc(0);
    const inner = await above.directory(name);
    if (inner === null) return;
    const under = (await below?.directory(name)) ?? null;
    try {
      yield* this.directory(inner, under, path, after);
    } finally {
      await inner.close();
      await under?.close();
    }
  }

  /** Those of an opaque directory are also those that it hides. */
  private async names(above: OpenDirectory, below: OpenDirectory | null): Promise<Buffer[]> {
    const own = await above.names();
    if (below === null || !isOpaque(above)) return own;
    const known = new Set(own.map((name) => name.toString('latin1')));
    const hidden = (await below.names()).filter((name) => !known.has(name.toString('latin1')));
    return [...own, ...hidden].sort((a, b) => a.compare(b));
  }

  /** All but a directory is there because it was written. */
  private differs(is: BigIntStats, was: BigIntStats | null): boolean {
    if (was === null || !is.isDirectory() || !was.isDirectory()) return true;
    const base = BigInt(this.upper.ids.base);
    return is.mode !== was.mode || is.uid - base !== was.uid || is.gid - base !== was.gid;
  }
}

const change = (path: readonly Buffer[], kind: LayerChange['change'], found: BigIntStats): LayerChange => ({
  path,
  change: kind,
  type: typeOf(found),
  sizeBytes: kind !== 'deleted' && found.isFile() ? Number(found.size) : null,
});

function typeOf(found: BigIntStats): LayerChange['type'] {
  if (found.isFile()) return 'file';
  if (found.isDirectory()) return 'directory';
  if (found.isSymbolicLink()) return 'symlink';
  if (found.isFIFO()) return 'fifo';
  return found.isSocket() ? 'socket' : 'device';
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const hex = (byte: number): string => `\\x${byte.toString(16).padStart(2, '0')}`;

/**
 * A path for people and programs: no two are the same, and none moves a terminal. Control and format characters, "\" and all bytes
 * beyond ASCII of a name that is not UTF-8 are written `\xNN`.
 */
export const pathText = (path: readonly Buffer[]): string => `/${path.map(nameText).join('/')}`;

function nameText(name: Buffer): string {
  let text;
  try {
    text = strict.decode(name);
  } catch {
    return [...name]
      .map((byte) => (byte >= 0x20 && byte < 0x7f && byte !== 0x5c ? String.fromCharCode(byte) : hex(byte)))
      .join('');
  }
  return text.replace(/[\p{C}\p{Zl}\p{Zp}\\]/gu, (char) => [...Buffer.from(char)].map(hex).join(''));
}
