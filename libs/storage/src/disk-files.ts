import { constants } from 'node:fs';
import { chown, open } from 'node:fs/promises';
import { join } from 'node:path';
import { confined, confinedId } from '@berth/images';
import { CommandError, run } from '@berth/linux';
import type { DiskFormat } from '@berth/model';
import { StorageError } from './storage-error.js';

/*
 * Files of disks, made and changed by qemu-img, which is confined, has no capability and is nobody on this host: the
 * file is lent to it, and the directory where it makes one. It writes metadata only and opens no base: our own reader has looked at that, and no program of
 * QEMU reads a stranger's image before the guest's own QEMU does.
 */

const MIB = 2 ** 20;
const PIB = 2 ** 50;

/** The overlay `disk.qcow2` in this directory. @throws StorageError hostFault */
export async function createOverlay(
  directory: string,
  base: { readonly path: string; readonly format: DiskFormat },
  sizeMiB: number,
): Promise<void> {
  const formats = ['-f', 'qcow2', '-F', base.format, '-b', base.path, '-o', 'compat=1.1'];
  // `-u`: the base is not opened.
  await lent(directory, 'disk.qcow2', ['create', '-q', '-u', ...formats, 'disk.qcow2', `${sizeMiB}M`]);
}

/** An empty disk. @throws StorageError hostFault */
export async function createQcow2(directory: string, name: string, sizeMiB: number): Promise<void> {
  await lent(directory, name, ['create', '-q', '-f', 'qcow2', '-o', 'compat=1.1', name, `${sizeMiB}M`]);
}

/** Makes a qcow2 larger, without looking at what it stands on. @throws StorageError hostFault */
export async function growQcow2(directory: string, name: string, sizeMiB: number): Promise<void> {
  await lentFile(directory, name, ['resize', '-q', diskWithoutBase(name), `${sizeMiB}M`]);
}

/** A qcow2 as qemu-img names it, without what it stands on. */
export function diskWithoutBase(name: string): string {
  const file = { driver: 'file', filename: name };
  return `json:${JSON.stringify({ driver: 'qcow2', backing: null, file })}`;
}

/** Where a qcow2 says its size, bytes (QEMU docs/interop/qcow2.txt, "Header"). */
const QCOW2_SIZE_AT = 24;

/** Size of a disk of ours as its guest sees it, MiB, rounded down. @throws StorageError hostFault */
export async function diskSizeMiB(path: string, format: DiskFormat): Promise<number> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    if (format === 'raw') return Math.floor((await file.stat()).size / MIB);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(32), 0, 32, 0);
    if (bytesRead < 32 || buffer.toString('latin1', 0, 4) !== 'QFI\xfb')
      throw new StorageError('hostFault', `${path} is no qcow2 any more`, 'Restore the file.');
    return Number(buffer.readBigUInt64BE(QCOW2_SIZE_AT) / BigInt(MIB));
  } finally {
    await file.close();
  }
}

/** A new disk without any block of its own. */
export const createRaw = (path: string, sizeMiB: number): Promise<void> =>
  sized(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, sizeMiB);

export const growRaw = (path: string, sizeMiB: number): Promise<void> =>
  sized(path, constants.O_RDWR, sizeMiB);

async function sized(path: string, flags: number, sizeMiB: number): Promise<void> {
  const file = await open(path, flags | constants.O_NOFOLLOW, 0o600);
  try {
    await file.truncate(sizeMiB * MIB);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Runs qemu-img to make a file in a directory, which is root's again afterwards. @throws StorageError hostFault */
function lent(directory: string, name: string, args: readonly string[]): Promise<void> {
  return confinedImg({ directory, name, makes: true, cpuSeconds: CPU_SECONDS, id: confinedId() }, args);
}

/**
 * Runs qemu-img on one file that is there, which is root's again afterwards. What lies beside it is out of its reach.
 * @param cpuSeconds how much processor time it may use @throws StorageError hostFault
 */
export function lentFile(
  directory: string,
  name: string,
  args: readonly string[],
  cpuSeconds = CPU_SECONDS,
): Promise<void> {
  return confinedImg({ directory, name, makes: false, cpuSeconds, id: confinedId() }, args);
}

const CPU_SECONDS = 30;

export interface Loan {
  readonly directory: string;
  readonly name: string;
  /** The file is to be made, so the directory is lent too. */
  readonly makes: boolean;
  readonly cpuSeconds: number;
  /** User and group that it is for this once. */
  readonly id: number;
  /** Longest time it may take, milliseconds; twice its processor time by default. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** Runs qemu-img on what is lent to it, which is root's again afterwards. @throws StorageError noSpace, hostFault */
export async function confinedImg(
  { directory, name, makes, cpuSeconds, id, timeoutMs = 2 * cpuSeconds * 1000, signal }: Loan,
  args: readonly string[],
): Promise<void> {
  // Each of its threads may reserve 72 MiB of addresses, for its stack and its heap, without using them. Metadata may lie
  // behind all that a guest has written.
  const bounds = { addressBytes: 8192 * MIB, fileBytes: PIB, cpuSeconds, openFiles: 64 };
  const { command, args: line } = confined([], bounds, 'qemu-img', args, id);
  const path = join(directory, name);
  if (makes) await chown(directory, id, id);
  await give(path, id);
  try {
    const env = { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' };
    await run(command, line, { timeoutMs, env, cwd: directory, ...(signal === undefined ? {} : { signal }) });
  } catch (e) {
    if (!(e instanceof CommandError)) throw e;
    if (e.stderr.includes('No space left on device'))
      throw new StorageError('noSpace', 'the pool became full', 'Delete what is not needed.', { cause: e });
    throw new StorageError('hostFault', e.message, 'Install qemu-utils; look at the disk.', { cause: e });
  } finally {
    if (makes) await chown(directory, 0, 0);
    await give(path, 0);
  }
}

/** The file, if it is there, belongs to this id and to nobody else, on disk. */
async function give(path: string, id: number): Promise<void> {
  const file = await open(path, constants.O_RDWR | constants.O_NOFOLLOW).catch((e: unknown) => {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw e;
  });
  if (file === null) return;
  try {
    await file.chown(id, id);
    await file.chmod(0o600);
    await file.sync();
  } finally {
    await file.close();
  }
}
