import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode } from './errno.js';

/** The files of one group in the tree that bounds its memory. */
export interface MemoryGroup {
  readonly version: 1 | 2;
  read(file: string): Promise<string>;
  write(file: string, value: string): Promise<void>;
}

export const memoryGroup = (version: 1 | 2, directory: string): MemoryGroup => ({
  version,
  read: async (file) => (await readFile(join(directory, file), 'utf8')).trim(),
  write: (file, value) => writeFile(join(directory, file), value),
});

/**
 * Bounds the memory of a group in which processes run, and with it their swap (v1's memory.memsw, which is both together; v2's
 * memory.swap.max), where the host counts it: null where it does not. False where more than that is in use and cannot be given back: then the bound is the
 * one before, and no process was killed for it (cgroup-v1/memory.rst, cgroup-v2.rst).
 */
export async function memoryBring(
  group: MemoryGroup,
  bytes: number,
  swapBytes: number | null,
): Promise<boolean> {
  if (group.version === 1) return bringLegacy(group, bytes, swapBytes);
  // What is in swap above a new bound stays there, and nothing is killed for it.
  if (swapBytes !== null)
    await group.write('memory.swap.max', `${swapBytes}`).catch((error: unknown) => {
      if (!hasCode(error, 'ENOENT')) throw error; // booted with swapaccount=0
    });
  return bringUnified(group, bytes);
}

/** v1 refuses a bound below what is in use, and one of memory above that of memory and swap together. */
async function bringLegacy(group: MemoryGroup, bytes: number, swapBytes: number | null): Promise<boolean> {
  const before = await group.read('memory.limit_in_bytes');
  const both: [file: string, value: number][] = [['memory.limit_in_bytes', bytes]];
  if (swapBytes !== null) both.push(['memory.memsw.limit_in_bytes', bytes + swapBytes]);
  if (bytes > Number(before)) both.reverse();
  try {
    for (const [file, value] of both) await group.write(file, `${value}`);
    return true;
  } catch (error) {
    if (!hasCode(error, 'EBUSY')) throw error;
    // Of the two bounds the first was taken: in use is memory and swap together.
    await group.write('memory.limit_in_bytes', before);
    return false;
  }
}

/**
 * v2 takes any bound, and kills until it is kept. So it is first asked to give back what it can, by memory.high, which
 * kills nothing and slows down whoever takes more meanwhile.
 */
async function bringUnified(group: MemoryGroup, bytes: number): Promise<boolean> {
  const before = await group.read('memory.max');
  const lower = before === 'max' || Number(before) > bytes;
  if (!lower) {
    await group.write('memory.max', `${bytes}`);
    return true;
  }
  const high = await group.read('memory.high');
  await group.write('memory.high', `${bytes}`);
  try {
    const fits = Number(await group.read('memory.current')) <= bytes;
    if (fits) await group.write('memory.max', `${bytes}`);
    return fits;
  } finally {
    await group.write('memory.high', high);
  }
}
