import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  renameSync,
  statfsSync,
  type Stats,
} from 'node:fs';
import { open, rm, type FileHandle } from 'node:fs/promises';
import { posix } from 'node:path';
import {
  asFileOwner,
  hasCode,
  isAlive,
  type MountEntry,
  mountinfoParse,
  mounts,
  O_PATH,
  openat2,
  RESOLVE,
  SystemError,
  type ProcessIdentity,
} from '@berth/linux';
import { fileMaxBytes, type FileTarget } from '@berth/model';
import { piecesUntil, RuntimeError, type GuestFile } from '@berth/runtime';

/*
 * Files of a running container, without a program in it: its image need have none. A path is looked up by the kernel with the
 * root of the container's first process as the root (openat2(2), RESOLVE_IN_ROOT), in its mount namespace, so links lead where they lead
 * inside. What it names is looked at before it is opened: only regular files on a disk or in memory are read and replaced, never those in
 * which the kernel shows itself, since we are root and it would obey.
 */

/** Magic numbers of the file systems that files are on: linux/magic.h. */
const DISKS: ReadonlySet<number> = new Set([
  0x794c7630, // overlayfs
  0x01021994, // tmpfs
  0xef53, // ext4
  0x58465342, // xfs
  0x9123683e, // btrfs
]);
const IN_ROOT = RESOLVE.inRoot | RESOLVE.noMagicLinks;
const PIECE = 256 * 1024;

/** Opens a regular file to read. It is `closed` when it was read, or the signal fired. @throws RuntimeError notPrepared, noSuchFile, fileRefused */
export async function containerFileRead(
  init: ProcessIdentity,
  path: string,
  signal: AbortSignal,
): Promise<GuestFile & { readonly closed: Promise<void> }> {
  return refusals(path, async () => {
    signal.throwIfAborted();
    const { handle, size } = await pinned(init, path, O_PATH, async (file) => {
      const seen = fstatSync(file);
      if (!seen.isFile()) throw refused(path, wrongKind(seen));
      onDisk(file, path);
      if (seen.size > fileMaxBytes) throw refused(path, `it has more than ${fileMaxBytes} bytes`);
      return { handle: await open(`/proc/self/fd/${file}`, constants.O_RDONLY), size: seen.size };
    });
    const stream = handle.createReadStream({ highWaterMark: PIECE });
    // Its reader is told; a reader that never came need not be.
    stream.on('error', () => undefined);
    const leave = (): void => void stream.destroy(signal.reason as Error);
    signal.addEventListener('abort', leave, { once: true });
    stream.once('close', () => signal.removeEventListener('abort', leave));
    const closed = new Promise<void>((resolve) => stream.once('close', () => resolve()));
    return { sizeBytes: size, bytes: stream as AsyncIterable<Buffer>, closed };
  });
}

/**
 * Writes a file beside its place, with its owner (the container's root) and mode, and moves it there when it is whole: what is there is replaced,
 * also where that is a link. @param base host id of the container's root
 * @returns how many bytes @throws RuntimeError notPrepared, noSuchFile (its directory), fileRefused, noSpace; then what was there is as it was
 */
export async function containerFileWrite(
  init: ProcessIdentity,
  base: number,
  { path, mode }: FileTarget,
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<number> {
  const name = posix.basename(path);
  return refusals(path, async () => {
    signal.throwIfAborted();
    if (name === '.' || name === '..') throw refused(path, 'it names a directory');
    return pinned(init, posix.dirname(path), O_PATH | constants.O_DIRECTORY, async (directory) => {
      onDisk(directory, path);
      const at = (file: string): string => `/proc/self/fd/${directory}/${file}`;
      replaceable(directory, name, path);
      const part = at(`.berth-${randomBytes(6).toString('hex')}.part`);
      const handle = await made(part, base);
      try {
        const bytes = await filled(handle, source, path, signal);
        await handle.chown(base, base);
        await handle.chmod(Number.parseInt(mode, 8));
        await handle.sync();
        signal.throwIfAborted();
        byRoot(base, () => renameSync(part, at(name)));
        return bytes;
      } catch (error) {
        await rm(part, { force: true });
        throw error;
      } finally {
        await handle.close();
      }
    });
  });
}

/**
 * What makes a name is done by us where it can be, and by the container's root where the file system is of its user namespace, which does not know
 * us: there it has the rights of that user.
 */
function byRoot<T>(base: number, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!hasCode(error, 'EOVERFLOW')) throw error;
    return asFileOwner(base, base, work);
  }
}

async function made(part: string, base: number): Promise<FileHandle> {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const file = byRoot(base, () => openSync(part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600));
  try {
    return await open(`/proc/self/fd/${file}`, O_WRONLY);
  } finally {
    closeSync(file);
  }
}

/** @throws RuntimeError fileRefused where a regular file cannot take the place of what is there */
function replaceable(directory: number, name: string, path: string): void {
  let there: number;
  try {
    there = openat2(directory, name, O_PATH | constants.O_NOFOLLOW, RESOLVE.beneath);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return;
    throw error;
  }
  try {
    const seen = fstatSync(there);
    if (!seen.isFile() && !seen.isSymbolicLink()) throw refused(path, wrongKind(seen));
    // A move from our mount namespace would take it away in the container's.
    if (mountOf(there) !== mountOf(directory)) throw refused(path, 'something is mounted there');
  } finally {
    closeSync(there);
  }
}

/** Id of the mount that a descriptor came through: proc(5), fdinfo. */
function mountOf(descriptor: number): string | undefined {
  return /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${descriptor}`, 'utf8'))?.[1];
}

async function filled(
  handle: FileHandle,
  source: AsyncIterable<Uint8Array>,
  path: string,
  signal: AbortSignal,
): Promise<number> {
  let total = 0;
  for await (const bytes of piecesUntil(source, signal)) {
    total += bytes.length;
    if (total > fileMaxBytes) throw refused(path, `it has more than ${fileMaxBytes} bytes`);
    for (let at = 0; at < bytes.length;)
      at += (await handle.write(bytes, at, bytes.length - at)).bytesWritten;
  }
  return total;
}

/** Does something with what a path in the container leads to, which is held meanwhile. */
async function pinned<T>(
  init: ProcessIdentity,
  path: string,
  flags: number,
  work: (descriptor: number) => Promise<T>,
): Promise<T> {
  const root = rootOf(init);
  try {
    // In its root a path is relative: one that begins with "/" begins there too.
    const found = openat2(root, path, flags, IN_ROOT);
    try {
      return await work(found);
    } finally {
      closeSync(found);
    }
  } finally {
    closeSync(root);
  }
}

function rootOf(init: ProcessIdentity): number {
  const ended = new RuntimeError('notPrepared', 'it does not run');
  try {
    const root = openSync(`/proc/${init.pid}/root`, O_PATH | constants.O_DIRECTORY);
    try {
      // A look-up that a file system of its own answers may never end, and we wait for it. One that the host has too is the host's.
      const own = mountinfoParse(readFileSync(`/proc/${init.pid}/mountinfo`, 'utf8')).filter(isFuse);
      const hosts = own.length === 0 ? [] : mounts().filter(isFuse);
      const fuse = own.find(({ device }) => !hosts.some((one) => one.device === device));
      if (fuse !== undefined)
        throw new RuntimeError('fileRefused', `a program of it answers for ${fuse.target} (${fuse.type})`, {
          remedy: 'copy by a program in it: berth exec',
        });
      // What had the pid when it was opened is the container's first process still.
      if (!isAlive(init)) throw ended;
      return root;
    } catch (error) {
      closeSync(root);
      throw error;
    }
  } catch (error) {
    throw hasCode(error, 'ENOENT', 'ESRCH', 'EACCES') ? ended : error;
  }
}

const isFuse = ({ type }: MountEntry): boolean => type.startsWith('fuse');

function onDisk(descriptor: number, path: string): void {
  if (!DISKS.has(statfsSync(`/proc/self/fd/${descriptor}`).type))
    throw refused(path, 'it is on no disk: the kernel makes it up');
}

function wrongKind(seen: Stats): string {
  return seen.isDirectory() ? 'it is a directory' : 'it is no regular file';
}

const refused = (path: string, why: string): RuntimeError =>
  new RuntimeError('fileRefused', `${path} is not copied: ${why}`);

/** Turns what the kernel refused into the runtime's error. */
async function refusals<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof RuntimeError || !isSystem(cause)) throw cause;
    if (hasCode(cause, 'ENOENT', 'ENOTDIR'))
      throw new RuntimeError('noSuchFile', `the container has no ${path}`, { cause });
    if (hasCode(cause, 'ENOSPC', 'EDQUOT'))
      throw new RuntimeError('noSpace', `there is no room for ${path}`, {
        cause,
        remedy: 'make room in it, or give it a larger rootDisk',
      });
    throw refused(path, cause.message);
  }
}

const isSystem = (error: unknown): error is Error =>
  error instanceof SystemError || typeof (error as NodeJS.ErrnoException).errno === 'number';
