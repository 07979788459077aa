import { constants } from 'node:fs';
import { chmod, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { syncPath, writeFileAtomic } from '@berth/linux';
import { StorageError } from './storage-error.js';

/*
 * Variables of UEFI firmware, one small raw file for each firmware that a root disk was started with, in a directory beside
 * the disk. A QEMU has its file open and writes it whenever its guest sets a variable. What a snapshot holds of them lies in
 * a directory of the same form.
 */

/** No firmware has variables of this size; a QEMU that its guest took over may make its file as large as it likes. */
const MAX_BYTES = 16 * 1024 * 1024;
/** Of a file that is written all the time there is no copy. A guest sets few variables, and never many at once. */
const MAX_READS = 50;

/** The file, made from `template` on first call. Nobody has it open then. @throws StorageError hostFault */
export async function ensureVariables(directory: string, name: string, template: string): Promise<string> {
  const path = join(directory, name);
  if ((await names(directory)).includes(name)) return path;
  try {
    await mkdir(directory, { recursive: true });
    await chmod(directory, 0o711);
    await writeFileAtomic(path, await readFile(template), { mode: 0o600 });
  } catch (cause) {
    throw hostFault(`the variables of the firmware cannot be made of ${template}`, cause);
  }
  return path;
}

/**
 * Copies what is in one directory of variables into another, which is made anew and is then whole or, after a crash, absent
 * or as it was. Where there are none, none are there afterwards. @throws StorageError hostFault
 */
export async function copyVariables(from: string, to: string): Promise<void> {
  const found = await names(from);
  const work = join(dirname(to), '.firmware-work');
  try {
    await rm(work, { recursive: true, force: true });
    if (found.length > 0) {
      await mkdir(work);
      await chmod(work, 0o711);
      for (const name of found)
        await writeFileAtomic(join(work, name), await steadyContent(join(from, name)), { mode: 0o600 });
    }
    await rm(to, { recursive: true, force: true });
    if (found.length > 0) await rename(work, to);
    await syncPath(dirname(to));
  } catch (cause) {
    await rm(work, { recursive: true, force: true });
    if (cause instanceof StorageError) throw cause;
    throw hostFault('the variables of the firmware cannot be copied', cause);
  }
}

/**
 * What a file held at one moment while a QEMU may write it: two readings from front to back that are the same. Had a later
 * write been seen without an earlier one, the earlier one would be seen by the second reading.
 */
async function steadyContent(path: string): Promise<Buffer> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { size } = await file.stat();
    if (size > MAX_BYTES)
      throw new StorageError(
        'hostFault',
        `${path} has ${size} bytes, more than any firmware's`,
        'Look at the instance.',
      );
    const read = async (): Promise<Buffer> => {
      const content = Buffer.alloc(size);
      const { bytesRead } = await file.read(content, 0, size, 0);
      return content.subarray(0, bytesRead);
    };
    let before = await read();
    for (let n = 1; n < MAX_READS; n += 1) {
      const now = await read();
      if (now.equals(before)) return now;
      before = now;
    }
  } finally {
    await file.close();
  }
  throw new StorageError('hostFault', `${path} never stood still`, 'Ask for the snapshot once more.');
}

async function names(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).filter((name) => !name.startsWith('.'));
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw e;
  }
}

function hostFault(what: string, cause: unknown): StorageError {
  return new StorageError(
    'hostFault',
    `${what}: ${(cause as Error).message}`,
    'Look at the pool of this host.',
    {
      cause,
    },
  );
}
