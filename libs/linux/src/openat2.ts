import { c, check, SYS } from './libc.js';

/** How a path is looked up (openat2(2), `resolve`). */
export const RESOLVE = {
  /** Into no other mount. */
  noXdev: 0x01,
  /** Through no link of the kernel's own, such as /proc/self/fd/3. */
  noMagicLinks: 0x02,
  noSymlinks: 0x04,
  /** Nothing above the directory, and no absolute link. */
  beneath: 0x08,
  /** The directory is the root: absolute links and `..` stay in it. */
  inRoot: 0x10,
} as const;

/** In place of a directory: a path is taken as it is, from the root or where the process stands (openat(2)). */
export const AT_FDCWD = -100;

/** Of open(2), which Node does not name. */
export const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;

/**
 * Opens a path that a stranger named or made below a directory: the kernel looks it up, so no change of it meanwhile leads anywhere
 * else. The descriptor is the caller's to close. @throws SystemError
 */
export function openat2(directory: number, path: string, flags: number, resolve: number): number {
  const how = Buffer.alloc(24); // struct open_how: flags, mode, resolve
  how.writeBigUInt64LE(BigInt(flags | O_CLOEXEC), 0);
  how.writeBigUInt64LE(BigInt(resolve), 16);
  return Number(check(Number(c.openat2(SYS.openat2, directory, path, how, how.length)), 'openat2', path));
}
