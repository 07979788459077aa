import { statSync } from 'node:fs';
import { hasCode } from './errno.js';
import { c, check } from './libc.js';

/** A device as its node tells: `char` or `block`, and its number. */
export interface DeviceNumber {
  readonly type: 'char' | 'block';
  readonly major: number;
  readonly minor: number;
}

/** Number of a device, as the kernel has it (`st_dev`, `st_rdev`), in its two parts: glibc's gnu_dev_major and gnu_dev_minor. */
export const deviceParts = (device: bigint): { readonly major: number; readonly minor: number } => ({
  major: Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n)),
  minor: Number((device & 0xffn) | ((device >> 12n) & 0xffffff00n)),
});

const S_IFCHR = 0o20000;
const S_IFBLK = 0o60000;

/** The device that a path leads to; null where there is none, and for any other file. */
export function deviceNumber(path: string): DeviceNumber | null {
  try {
    const seen = statSync(path, { bigint: true });
    if (!seen.isCharacterDevice() && !seen.isBlockDevice()) return null;
    return { type: seen.isCharacterDevice() ? 'char' : 'block', ...deviceParts(seen.rdev) };
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
