import { statSync } from 'node:fs';
import { hasCode } from './errno.js';
import { c, check } from './libc.js';

/** A device as its node tells: `char` or `block`, and its number. */
export interface DeviceNumber {
  readonly type: 'char' | 'block';
  readonly major: number;
  readonly minor: number;
}

const S_IFCHR = 0o20000;
const S_IFBLK = 0o60000;

/** The device that a path leads to; null where there is none, and for any other file. */
export function deviceNumber(path: string): DeviceNumber | null {
  try {
    const seen = statSync(path);
    if (!seen.isCharacterDevice() && !seen.isBlockDevice()) return null;
    const { rdev } = seen;
    const [major, minor] = [(rdev >>> 8) & 0xfff, (rdev & 0xff) | ((rdev >>> 12) & 0xfff00)];
    return { type: seen.isCharacterDevice() ? 'char' : 'block', major, minor };
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return null;
    throw error;
  }
}

/** mknod(2); the mode is less the process's umask. @throws SystemError EPERM without CAP_MKNOD, EEXIST. */
export function deviceNodeMake(path: string, { type, major, minor }: DeviceNumber, mode: number): void {
  const device = ((major & 0xfff) << 8) | (minor & 0xff) | ((minor & ~0xff) << 12);
  check(c.mknod(path, (type === 'char' ? S_IFCHR : S_IFBLK) | mode, device >>> 0), 'mknod', path);
}
