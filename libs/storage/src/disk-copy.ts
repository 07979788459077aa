import { constants } from 'node:fs';
import { link, open, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { confinedId } from '@berth/images';
import type { DiskFormat } from '@berth/model';
import { confinedImg } from './disk-files.js';

/*
 * What a snapshot holds, written into another disk. The source may be open in a QEMU that writes it: the tables and clusters
 * of a snapshot do not change while it is there, so they are read without the file's lock. Its own tables of snapshots may
 * be rewritten in the instant in which they are read; then qemu-img finds no sense in them, and the copy is made again.
 */

/** Tables are read and data is passed on; the rest is the disk's. */
const CPU_SECONDS = 3_600;
const TIMEOUT_MS = 4 * 3_600_000;
const MIB = 2 ** 20;

export interface CopyRequest {
  /** Where the new disk lies already, empty, and no smaller than the source. */
  readonly directory: string;
  readonly name: string;
  /** Path of the disk that holds the snapshot. */
  readonly source: string;
  readonly snapshot: string;
  /** For an overlay: the size of both, MiB. What the source does not hold is then left to the base they share. */
  readonly overlayMiB: number | null;
  /** Of the new disk; qcow2 by default. A raw one must hold nothing yet, and is no overlay. */
  readonly format?: DiskFormat;
  readonly signal?: AbortSignal | undefined;
}

/** Writes into a new disk what a snapshot of another one holds. @throws StorageError noSpace, hostFault */
export async function copySnapshot(request: CopyRequest): Promise<void> {
  const { directory, name, snapshot, overlayMiB, format = 'qcow2', signal } = request;
  const source = join(directory, 'source');
  const nothing = join(directory, 'nothing');
  const id = confinedId();
  // Reached by a name of its own in the directory that is lent: no other one need let it pass.
  await link(request.source, source);
  try {
    // In the place of the base, which no program of QEMU opens before the guest's own does.
    if (overlayMiB !== null) {
      await writeFile(nothing, '', { mode: 0o444 });
      await truncate(nothing, overlayMiB * MIB);
    }
    const base = overlayMiB === null ? [] : ['-B', 'nothing', '-F', 'raw'];
    const disk = (file: string): string => diskOn(file, overlayMiB === null ? null : 'nothing');
    const args = ['convert', '-q', '-U', '-n', '-l', `snapshot.name=${snapshot}`, ...base];
    const loan = { directory, name, makes: true, cpuSeconds: CPU_SECONDS, timeoutMs: TIMEOUT_MS, id, signal };
    const target = format === 'raw' ? ['-O', 'raw', name] : ['-O', 'qcow2', disk(name)];
    // What an overlay does not hold is read from its base, so it is not taken for zeroes.
    const empty = overlayMiB === null ? ['--target-is-zero'] : [];
    await readableBy(source, id, () => confinedImg(loan, [...args, ...empty, disk('source'), ...target]));
  } finally {
    await rm(source, { force: true });
    await rm(nothing, { force: true });
  }
}

/** A qcow2 as qemu-img names it, on a base that it is told. */
function diskOn(filename: string, base: string | null): string {
  const backing = base === null ? null : { driver: 'raw', file: { driver: 'file', filename: base } };
  return `json:${JSON.stringify({ driver: 'qcow2', backing, file: { driver: 'file', filename } })}`;
}

/** While the work lasts a group may read the file. Its owner, who may have it open, keeps it. */
export async function readableBy(path: string, gid: number, work: () => Promise<void>): Promise<void> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    await file.chown(-1, gid);
    await file.chmod(0o640);
    try {
      await work();
    } finally {
      await file.chmod(0o600);
      // Whoever started or ended its machine meanwhile has said whose it is.
      if ((await file.stat()).gid === gid) await file.chown(-1, 0);
    }
  } finally {
    await file.close();
  }
}
