import { randomBytes } from 'node:crypto';
import { open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/**
 * Writes a whole file so that a reader (also after a power cut) sees the old or the new content: temporary file beside
 * it, fsync, rename, fsync of the directory. `mode` is set exactly, whatever the umask. Default mode 0600.
 *
 * `durable: false` is for what is made anew after a boot: nothing waits for the disk, so that a reader sees the old or the
 * new content whatever is killed, and after a power cut anything.
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array,
  options: { readonly mode?: number; readonly durable?: boolean } = {},
): Promise<void> {
  const { mode = 0o600, durable = true } = options;
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    const file = await open(temporary, 'wx', mode);
    try {
      await file.chmod(mode);
      await file.writeFile(data);
      if (durable) await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  if (durable) await syncPath(dirname(path));
}

/** The file for which this name was a temporary one of `writeFileAtomic` (a kill leaves it behind), or null. */
export function atomicTemporaryOf(name: string): string | null {
  return /^\.(.+)\.[0-9a-f]{12}\.tmp$/.exec(name)?.[1] ?? null;
}

/**
 * Removes what {@link writeFileAtomic} left below a directory when its process was killed. Nobody else may be writing
 * there. A directory that is not there has nothing.
 */
export async function temporariesRemove(dir: string): Promise<void> {
  const entries = await readdir(dir, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  for (const entry of entries) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) await temporariesRemove(path);
    else if (entry.isFile() && atomicTemporaryOf(entry.name) !== null) await rm(path, { force: true });
  }
}

/** Makes a file durable, or the names in a directory (a rename, a removal). */
export async function syncPath(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
