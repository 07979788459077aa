import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { diskWithoutBase, lentFile } from './disk-files.js';
import { snapshotNames } from './qcow2-snapshots.js';
import { StorageError } from './storage-error.js';

/*
 * Snapshots inside a qcow2 that no QEMU has open. qemu-img changes metadata only: a snapshot costs a copy of the first
 * table and a count for each cluster. It takes the file's lock, so it fails where a QEMU has it open after all.
 */

/** Counts of all clusters of a large disk are read and written. */
const SECONDS = 300;

/** Whether the disk holds a snapshot of this name. @throws StorageError hostFault */
export async function hasSnapshot(directory: string, name: string, snapshot: string): Promise<boolean> {
  const file = await open(join(directory, name), constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    return (await snapshotNames(file)).includes(snapshot);
  } finally {
    await file.close();
  }
}

/** Replaces one of that name. @throws StorageError hostFault */
export async function takeSnapshot(directory: string, name: string, snapshot: string): Promise<void> {
  await removeSnapshot(directory, name, snapshot);
  await lentFile(directory, name, ['snapshot', '-q', '-c', snapshot, diskWithoutBase(name)], SECONDS);
}

/** What was written since is lost. @throws StorageError noSuchSnapshot, hostFault */
export async function revertToSnapshot(directory: string, name: string, snapshot: string): Promise<void> {
  if (!(await hasSnapshot(directory, name, snapshot)))
    throw new StorageError(
      'noSuchSnapshot',
      `the disk holds no snapshot ${snapshot}`,
      'Use another snapshot.',
    );
  await lentFile(directory, name, ['snapshot', '-q', '-a', snapshot, diskWithoutBase(name)], SECONDS);
}

/** One that is not there is no error. @throws StorageError hostFault */
export async function removeSnapshot(directory: string, name: string, snapshot: string): Promise<void> {
  if (!(await hasSnapshot(directory, name, snapshot))) return;
  await lentFile(directory, name, ['snapshot', '-q', '-d', snapshot, diskWithoutBase(name)], SECONDS);
}
