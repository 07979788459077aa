import { closeSync, constants, openSync } from 'node:fs';
import { openat2, RESOLVE, SystemError } from '@berth/linux';
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const fsetxattr = libc.func(
  'int fsetxattr(int file, const char *name, const char *value, size_t size, int flags)',
) as (file: number, name: string, value: string, size: number, flags: number) => number;
/**
 * Marks directories below `root` as opaque for overlayfs (`trusted.overlay.opaque`, needs CAP_SYS_ADMIN). The names come
 * from the unpacking child: the kernel is told to follow no link and not to leave `root` (openat2(2)).
 * @throws SystemError
 */
export function markOpaque(root: string, paths: readonly string[]): void {
  const top = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    for (const path of paths) markOne(top, path === '' ? '.' : path);
  } finally {
    closeSync(top);
  }
}

function markOne(top: number, path: string): void {
  const directory = openat2(
    top,
    path,
    constants.O_RDONLY | constants.O_DIRECTORY,
    RESOLVE.noSymlinks | RESOLVE.beneath,
  );
  try {
    if (fsetxattr(directory, 'trusted.overlay.opaque', 'y', 1, 0) < 0)
      throw new SystemError('fsetxattr', koffi.errno(), path);
  } finally {
    closeSync(directory);
  }
}
