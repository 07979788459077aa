import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const mknod = libc.func('int mknod(const char *path, unsigned int mode, unsigned long device)') as (
  path: string,
  mode: number,
  device: number,
) => number;

const S_IFIFO = 0o010000;
const S_IFCHR = 0o020000;

export type MakeNode = (path: string, kind: 'fifo' | 'whiteout') => void;

/** mknod(2). A whiteout is the character device 0:0 (overlayfs), which needs no capability since Linux 5.8. */
export const makeNode: MakeNode = (path, kind) => {
  if (mknod(path, kind === 'fifo' ? S_IFIFO | 0o600 : S_IFCHR, 0) !== 0)
    throw Object.assign(new Error(`mknod ${path}: errno ${koffi.errno()}`), { syscall: 'mknod' });
};
