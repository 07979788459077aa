import { chown, open, rename, rm, stat } from 'node:fs/promises';

/** Most bytes in the file that is written; one full file is kept beside it. The same bound as under libvirt. */
export const SERIAL_MAX_BYTES = 4 * 1024 * 1024;

/** Makes the log for QEMU to append to, if need be, and gives it to its user. */
export async function openedFor(path: string, uid: number): Promise<void> {
  await (await open(path, 'a', 0o600)).close();
  await chown(path, uid, uid);
}

/**
 * Moves a log that is too big aside, to `<path>.0`, and goes on in a new one, without losing a byte: the writer is
 * given the new file before the old one is renamed. A rotation that was interrupted is finished.
 * @param swap makes QEMU write to this file from now on
 */
export async function rotate(
  path: string,
  uid: number,
  swap: (path: string) => Promise<void>,
  maxBytes = SERIAL_MAX_BYTES,
): Promise<boolean> {
  const next = `${path}.next`;
  const interrupted = (await size(next)) !== null;
  if (!interrupted && ((await size(path)) ?? 0) <= maxBytes) return false;
  if (!interrupted) await openedFor(next, uid);
  await swap(next);
  await rename(path, `${path}.0`).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
  await rename(next, path);
  return true;
}

/** Takes away what an interrupted rotation left. */
export function forgetRotation(path: string): Promise<void> {
  return rm(`${path}.next`, { force: true });
}

async function size(path: string): Promise<number | null> {
  return (await stat(path).catch(() => null))?.size ?? null;
}
