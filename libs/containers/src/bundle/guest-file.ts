import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode } from '@berth/linux';

const LINKS_MAX = 40;
const FILE_MAX = 1024 * 1024;

/**
 * Reads a small text file of a guest's root file system as the guest would see it: symbolic links are followed below
 * that root only, absolute ones and `..` included (as openat2's RESOLVE_IN_ROOT does). Null when there is no such file.
 * The guest must not run meanwhile: the walk is by path and does not hold against one that changes the tree.
 * @throws Error for anything but a regular file of at most 1 MiB.
 */
export function guestFileRead(root: string, path: string): string | null {
  const fd = openOrNull(join(root, guestPathResolve(root, path)));
  if (fd === null) return null;
  try {
    const seen = fstatSync(fd);
    if (!seen.isFile()) throw new Error(`${path} in the image is no regular file`);
    if (seen.size > FILE_MAX) throw new Error(`${path} in the image is larger than 1 MiB`);
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

/**
 * The path below `root`, without a leading `/`, of what the guest calls `path`: links are followed as in
 * {@link guestFileRead}, what does not exist is taken as it is written.
 * @throws Error for a chain of more than 40 links.
 */
export function guestPathResolve(root: string, path: string): string {
  let pending = path.split('/');
  let at: string[] = [];
  let links = 0;
  while (pending.length > 0) {
    const [part, ...rest] = pending as [string, ...string[]];
    pending = rest;
    if (part === '' || part === '.') continue;
    if (part === '..') {
      at = at.slice(0, -1);
      continue;
    }
    const link = linkTarget(join(root, ...at, part));
    if (link === null) {
      at = [...at, part];
      continue;
    }
    links += 1;
    if (links > LINKS_MAX) throw new Error(`too many symbolic links at ${path} in the image`);
    if (link.startsWith('/')) at = [];
    pending = [...link.split('/'), ...pending];
  }
  return at.join('/');
}

/** The target of a link, null for anything else and for what does not exist. */
function linkTarget(path: string): string | null {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : null;
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return null;
    throw error;
  }
}

function openOrNull(path: string): number | null {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return null;
    throw error;
  }
}
