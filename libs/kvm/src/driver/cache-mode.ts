import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** `none` needs O_DIRECT, which some file systems (tmpfs) do not have. */
export async function cacheMode(path: string): Promise<'none' | 'writeback'> {
  try {
    await (await open(path, constants.O_RDONLY | constants.O_DIRECT)).close();
    return 'none';
  } catch {
    return 'writeback';
  }
}
