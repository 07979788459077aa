import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode } from './errno.js';
import { namesIn } from './names-in.js';
import { isMounted, mount, MS, umountAll } from './mounts.js';

/* Directories in memory, and values that are kept in one. */

/** Mounts memory on a directory, unless something is mounted there. @param size as tmpfs(5) has it @param mode octal. Synchronous and short. */
export function memoryMount(directory: string, size: string, mode: string): void {
  mkdirSync(directory, { recursive: true, mode: Number.parseInt(mode, 8) });
  if (!isMounted(directory))
    mount('tmpfs', directory, 'tmpfs', MS.NOSUID | MS.NODEV | MS.NOEXEC, `mode=${mode},size=${size}`);
}

/** Takes it away again, with all in it. Repeating it is no error. */
export function memoryForget(directory: string): void {
  if (isMounted(directory)) umountAll(directory);
  rmSync(directory, { recursive: true, force: true });
}

interface Wanted {
  /** A name of a file. */
  readonly name: string;
  readonly value?: Uint8Array | undefined;
}

/**
 * Values by name, each as it is given or was kept in a directory; null for one that is neither. From now on those that were found are kept
 * there, each whole, and no others.
 */
export function valuesKeep(directory: string, wanted: readonly Wanted[]): Map<string, Uint8Array | null> {
  const values = new Map(wanted.map(({ name, value }) => [name, value ?? kept(join(directory, name))]));
  if (values.size > 0) mkdirSync(directory, { recursive: true, mode: 0o700 });
  for (const { name, value } of wanted) if (value !== undefined) written(join(directory, name), value);
  for (const name of namesIn(directory))
    if (!values.has(name)) rmSync(join(directory, name), { force: true });
  return values;
}

function kept(file: string): Uint8Array | null {
  try {
    return readFileSync(file);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null;
    throw error;
  }
}

/** Whole or not at all. */
function written(file: string, value: Uint8Array): void {
  const temporary = `${file}.tmp`;
  writeFileSync(temporary, value, { mode: 0o600 });
  renameSync(temporary, file);
}
