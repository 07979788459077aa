import { access, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncPath } from '@berth/linux';
import type { VolumeId } from '@berth/model';
import { RuntimeError } from '@berth/runtime';
import type { DiskVolumes } from './ports.js';

const MIB = 2 ** 20;

/** A file that is to be made. */
export interface MemoryTarget {
  readonly path: string;
  /** All that the pool has above its reserve: a QEMU that a guest took over is no reason to fill the host's disk. */
  readonly limitBytes: number;
}

/**
 * Memory of suspended machines, one file beside a root disk, named by its volume. It is written under another name and
 * gets its own when it is whole, so a file of that name can be restored from.
 */
export class MemoryImages {
  constructor(private readonly volumes: Pick<DiskVolumes, 'memoryPath' | 'freeMiB'>) {}

  /** Where an image is, once it is whole. */
  path(volumeId: VolumeId): string {
    return this.volumes.memoryPath(volumeId);
  }

  /** Where a new one is to be written: nothing is there. @throws RuntimeError noSpace when it may not fit. */
  async begin(volumeId: VolumeId, memoryMiB: number): Promise<MemoryTarget> {
    const remedy = 'Delete instances or images that are not needed, or stop the machine instead.';
    return memoryBegun(this.path(volumeId), memoryMiB, await this.volumes.freeMiB(), remedy);
  }

  /** The new one is whole: from now on it is the image. Repeating it is no error. False when there is none. */
  complete(volumeId: VolumeId): Promise<boolean> {
    return memoryCompleted(this.path(volumeId));
  }

  /** Removes what there is, whole or not. */
  discard(volumeId: VolumeId): Promise<void> {
    return memoryDiscarded(this.path(volumeId));
  }
}

/** Where the image of this path is to be written: nothing is there. @throws RuntimeError noSpace when it may not fit. */
export async function memoryBegun(
  path: string,
  memoryMiB: number,
  freeMiB: number,
  remedy: string,
): Promise<MemoryTarget> {
  await memoryDiscarded(path);
  if (freeMiB < memoryMiB)
    throw new RuntimeError(
      'noSpace',
      `its memory of ${memoryMiB} MiB needs room; the pool has ${freeMiB} MiB`,
      { remedy },
    );
  return { path: unfinished(path), limitBytes: freeMiB * MIB };
}

/** The new one is whole, and on disk. Repeating it is no error. False when there is none. */
export async function memoryCompleted(path: string): Promise<boolean> {
  const file = await open(unfinished(path), 'r+').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (file === null) return isThere(path);
  try {
    await file.chown(0, 0);
    await file.chmod(0o600);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(unfinished(path), path);
  await syncPath(dirname(path));
  return true;
}

/** Removes what there is, whole or not. */
export async function memoryDiscarded(path: string): Promise<void> {
  await rm(path, { force: true });
  await rm(unfinished(path), { force: true });
}

const unfinished = (path: string): string => `${path}.part`;

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
