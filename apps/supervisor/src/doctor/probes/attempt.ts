import { constants, existsSync, readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Null when it works, else the reason in one line. */
export async function attempt(work: () => Promise<unknown>): Promise<string | null> {
  try {
    await work();
    return null;
  } catch (error) {
    return (error as Error).message.split('\n')[0]!;
  }
}

/** Opens for reading and writing: what a device node says of the driver behind it. */
export async function opens(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDWR);
  await handle.close();
}

/** The directory, or the nearest one above it that is there. */
export function existing(dir: string): string {
  let d = dir;
  while (!existsSync(d)) d = dirname(d);
  return d;
}

/** A small file's text, null where there is none. */
export function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

/** A number in a file of its own, null where there is none. */
export function readNumber(path: string): number | null {
  const text = read(path)?.trim() ?? '';
  return /^[0-9]+$/.test(text) ? Number(text) : null;
}
