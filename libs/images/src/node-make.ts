import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const mknod = libc.func('int mknod(const char *path, unsigned int mode, unsigned long device)') as (
  path: string,
  mode: number,
  device: number,
) => number;

const utimensat = libc.func('int utimensat(int directory, const char *path, void *times, int flags)') as (
  directory: number,
  path: string,
  times: Buffer,
  flags: number,
) => number;
const lsetxattr = libc.func(
  'int lsetxattr(const char *path, const char *name, void *value, size_t size, int flags)',
) as (path: string, name: string, value: Buffer, size: number, flags: number) => number;

const S_IFIFO = 0o010000;
const S_IFCHR = 0o020000;
const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const NANOS = 1_000_000_000n;
const EOPNOTSUPP = 95;

/** What Node has no call for; links are not followed. Each throws an error with `syscall` and `errno`. */
export interface NodeCalls {
  /** mknod(2). A whiteout is the character device 0:0 (overlayfs), which needs no capability since Linux 5.8. */
  make(path: string, kind: 'fifo' | 'whiteout'): void;
  /** Both times, nanoseconds since the epoch. */
  times(path: string, nanos: bigint): void;
  /** An extended attribute; false where the file system keeps none of its kind. */
  attribute(path: string, name: string, value: Buffer): boolean;
}

export const nodeCalls: NodeCalls = {
  make: (path, kind) => checked(mknod(path, kind === 'fifo' ? S_IFIFO | 0o600 : S_IFCHR, 0), `mknod ${path}`),
  times: (path, nanos) => {
    const seconds = nanos / NANOS - (nanos % NANOS < 0n ? 1n : 0n);
    const times = Buffer.alloc(32);
    for (const at of [0, 16]) {
      times.writeBigInt64LE(seconds, at);
      times.writeBigInt64LE(nanos - seconds * NANOS, at + 8);
    }
    checked(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), `utimensat ${path}`);
  },
  attribute: (path, name, value) => {
    const set = lsetxattr(path, name, value, value.length, 0);
    if (set !== 0 && koffi.errno() === EOPNOTSUPP) return false;
    checked(set, `lsetxattr ${path} ${name}`);
    return true;
  },
};

function checked(result: number, call: string): void {
  if (result === 0) return;
  const errno = koffi.errno();
  throw Object.assign(new Error(`${call}: errno ${errno}`), { syscall: call.split(' ')[0], errno });
}
