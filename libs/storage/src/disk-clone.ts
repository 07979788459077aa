import { constants } from 'node:fs';
import { link, open, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { confinedId } from '@berth/images';
import type { DiskFormat } from '@berth/model';
import { readableBy } from './disk-copy.js';
import { confinedImg, diskWithoutBase } from './disk-files.js';
import { snapshotNames } from './qcow2-snapshots.js';
import { StorageError } from './storage-error.js';

/*
 * What a disk holds now, written into another one. Nothing may write the source meanwhile: qemu-img takes its lock, which
 * a QEMU that has it open refuses, and a source that is another one afterwards makes the copy count for nothing.
 */

/** Data is read and written, zeroes are looked for; the rest is the disk's. */
const CPU_SECONDS = 4 * 3_600;
const TIMEOUT_MS = 8 * 3_600_000;
const LOOK_EVERY_MS = 1_000;

export interface CloneWork {
  /** Where the new disk lies already, empty, and no smaller than the source. */
  readonly directory: string;
  readonly name: string;
  readonly format: DiskFormat;
  readonly source: { readonly path: string; readonly format: DiskFormat };
  /** Gets how much is copied, of hundred, now and then. */
  readonly progress?: ((percent: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Writes into a new disk what another one holds, without its snapshots. @throws StorageError noSpace, hostFault (in use, damaged) */
export async function cloneDisk(work: CloneWork): Promise<void> {
  const { directory, name, format, signal, progress } = work;
  const near = join(directory, 'source');
  const id = confinedId();
  // Reached by a name of its own in the directory that is lent: no other one need let it pass.
  await link(work.source.path, near);
  const file = await open(near, constants.O_RDONLY | constants.O_NOFOLLOW);
  const watch = progress === undefined ? null : watchCopy(near, join(directory, name), progress);
  try {
    const before = await stateOf(file);
    // A QEMU that a guest took over may have made it one that keeps its data in another file: that is refused here.
    if (work.source.format === 'qcow2') await snapshotNames(file);
    const source = work.source.format === 'qcow2' ? diskWithoutBase('source') : rawDisk('source');
    const args = ['convert', '-q', '-n', '--target-is-zero', source, '-O', format, name];
    const loan = { directory, name, makes: true, cpuSeconds: CPU_SECONDS, timeoutMs: TIMEOUT_MS, id, signal };
    await readableBy(near, id, () => confinedImg(loan, args));
    if ((await stateOf(file)) !== before)
      throw new StorageError('hostFault', 'the disk changed while it was copied', 'Stop what writes it.');
  } finally {
    watch?.end();
    await file.close();
    await rm(near, { force: true });
  }
}

/** As qemu-img names it: its format is stated, whatever its guest wrote over its first bytes. */
const rawDisk = (filename: string): string =>
  `json:${JSON.stringify({ driver: 'raw', file: { driver: 'file', filename } })}`;

/** What changes with each write, but not with whose the file is. */
async function stateOf(file: FileHandle): Promise<string> {
  const { size, mtimeNs } = await file.stat({ bigint: true });
  return `${size} ${mtimeNs}`;
}

/** Looks now and then how much of a copy is there, until its end. */
export function watchCopy(
  source: string,
  copy: string,
  progress: (percent: number) => void,
): { readonly end: () => void } {
  const look = async (): Promise<void> => {
    const [whole, part] = [(await stat(source)).blocks, (await stat(copy)).blocks];
    if (whole > 0) progress(Math.min(99, Math.floor((100 * part) / whole)));
  };
  const timer = setInterval(() => void look().catch(() => undefined), LOOK_EVERY_MS);
  return { end: () => clearInterval(timer) };
}
