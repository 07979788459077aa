import { closeSync, constants, openSync } from 'node:fs';
import { SystemError } from '@berth/linux';
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const fsetxattr = libc.func(
  'int fsetxattr(int file, const char *name, const char *value, size_t size, int flags)',
) as (file: number, name: string, value: string, size: number, flags: number) => number;
const openat2 = libc.func('syscall', 'long', ['long', 'int', 'str', 'void *', 'size_t']) as (
  number: number,
  directory: number,
  path: string,
  how: Buffer,
  size: number,
) => number;

/** The same on x86-64 and arm64. */
const SYS_OPENAT2 = 437;
const O_DIRECTORY = constants.O_DIRECTORY;
const RESOLVE_NO_SYMLINKS = 0x04;
const RESOLVE_BENEATH = 0x08;

/**
 * Marks directories below `root` as opaque for overlayfs (`trusted.overlay.opaque`, needs CAP_SYS_ADMIN). The names come
 * from the unpacking child: the kernel is told to follow no link and not to leave `root` (openat2(2)).
 * @throws SystemError
 */
export function markOpaque(root: string, paths: readonly string[]): void {
  const top = openSync(root, constants.O_RDONLY | O_DIRECTORY);
  try {
    for (const path of paths) markOne(top, path === '' ? '.' : path);
  } finally {
    closeSync(top);
  }
}

function markOne(top: number, path: string): void {
  const how = Buffer.alloc(24); // struct open_how: flags, mode, resolve
  how.writeBigUInt64LE(BigInt(constants.O_RDONLY | O_DIRECTORY), 0);
  how.writeBigUInt64LE(BigInt(RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH), 16);
  const directory = Number(openat2(SYS_OPENAT2, top, path, how, how.length));
  if (directory < 0) throw new SystemError('openat2', koffi.errno(), path);
  try {
    if (fsetxattr(directory, 'trusted.overlay.opaque', 'y', 1, 0) < 0)
      throw new SystemError('fsetxattr', koffi.errno(), path);
  } finally {
    closeSync(directory);
  }
}
