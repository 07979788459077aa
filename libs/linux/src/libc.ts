import koffi from 'koffi';
import { SystemError } from './errno.js';

/**
 * The C library, called synchronously on the calling thread. Nothing here may block for long: koffi's asynchronous
 * calls in bulk would starve libuv's pool, and per-thread state (network namespace, capabilities) must be that of the caller.
 */
const libc = koffi.load('libc.so.6');

/** sendmsg(2), as on 64-bit Linux. Without names, which a process may give only once however often it loads this. */
const iovec = koffi.struct({ base: 'void *', length: 'size_t' });
const msghdr = koffi.struct({
  name: 'void *',
  nameLength: 'uint32_t',
  parts: koffi.pointer(iovec),
  partCount: 'size_t',
  control: 'void *',
  controlLength: 'size_t',
  flags: 'int',
});

const bind = (prototype: string) => libc.func(prototype) as (...args: unknown[]) => number;

/** System calls without a wrapper in older C libraries; numbers are the same on x86-64 and arm64. */
export const SYS = {
  pidfdSendSignal: 424,
  openTree: 428,
  moveMount: 429,
  pidfdOpen: 434,
  openat2: 437,
  pidfdGetfd: 438,
  mountSetattr: 442,
} as const;

export const c = {
  mount: bind(
    'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
  ),
  umount2: bind('int umount2(const char *target, int flags)'),
  setns: bind('int setns(int fd, int type)'),
  unshare: bind('int unshare(int flags)'),
  chroot: bind('int chroot(const char *path)'),
  prctl: bind('int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)'),
  capset: bind('int capset(void *header, void *data)'),
  adjtimex: bind('int adjtimex(void *timex)'),
  socket: bind('int socket(int domain, int type, int protocol)'),
  bindSocket: bind('int bind(int fd, void *address, unsigned int length)'),
  connect: bind('int connect(int fd, void *address, unsigned int length)'),
  shutdown: bind('int shutdown(int fd, int how)'),
  setsockopt: bind('int setsockopt(int fd, int level, int name, void *value, unsigned int length)'),
  send: bind('long send(int fd, void *data, size_t length, int flags)'),
  sendmsg: libc.func('sendmsg', 'long', ['int', koffi.pointer(msghdr), 'int']) as (
    ...args: unknown[]
  ) => number,
  recv: bind('long recv(int fd, void *data, size_t length, int flags)'),
  ioctlPointer: bind('int ioctl(int fd, unsigned long request, void *argument)'),
  ioctlNumber: libc.func('ioctl', 'int', ['int', 'unsigned long', 'unsigned long']) as (
    ...args: unknown[]
  ) => number,
  /** With a number as argument, such as F_DUPFD_CLOEXEC takes it. */
  fcntl: libc.func('fcntl', 'int', ['int', 'int', 'long']) as (...args: unknown[]) => number,
  mknod: bind('int mknod(const char *path, unsigned int mode, unsigned long device)'),
  schedSetaffinity: bind('int sched_setaffinity(int pid, size_t size, void *mask)'),
  fgetxattr: bind('long fgetxattr(int fd, const char *name, void *value, size_t size)'),
  lgetxattr: bind('long lgetxattr(const char *path, const char *name, void *value, size_t size)'),
  llistxattr: bind('long llistxattr(const char *path, void *list, size_t size)'),
  setfsuid: bind('int setfsuid(unsigned int uid)'),
  setfsgid: bind('int setfsgid(unsigned int gid)'),
  mkfifo: bind('int mkfifo(const char *path, unsigned int mode)'),
  memfdCreate: bind('int memfd_create(const char *name, unsigned int flags)'),
  openTree: libc.func('syscall', 'long', ['long', 'int', 'str', 'unsigned int']) as (
    ...args: unknown[]
  ) => number,
  moveMount: libc.func('syscall', 'long', ['long', 'int', 'str', 'int', 'str', 'unsigned int']) as (
    ...args: unknown[]
  ) => number,
  mountSetattr: libc.func('syscall', 'long', ['long', 'int', 'str', 'unsigned int', 'void *', 'size_t']) as (
    ...args: unknown[]
  ) => number,
  openat2: libc.func('syscall', 'long', ['long', 'int', 'str', 'void *', 'size_t']) as (
    ...args: unknown[]
  ) => number,
  pidfdOpen: libc.func('syscall', 'long', ['long', 'int', 'unsigned int']) as (...args: unknown[]) => number,
  pidfdGetfd: libc.func('syscall', 'long', ['long', 'int', 'int', 'unsigned int']) as (
    ...args: unknown[]
  ) => number,
  pidfdSendSignal: libc.func('syscall', 'long', ['long', 'int', 'int', 'void *', 'unsigned int']) as (
    ...args: unknown[]
  ) => number,
};

const send = libc.func('long send(int fd, void *data, size_t length, int flags)');

/** send(2) on a pool thread, for the rare request in which the kernel takes its time. One at a time, never in bulk. */
export function sendSoon(fd: number, bytes: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    send.async(fd, bytes, bytes.length, 0, (error: unknown, sent: number) => {
      if (error) reject(error instanceof Error ? error : new Error(String(error)));
      else resolve(sent);
    });
  });
}

/** errno of the last call on this thread; only valid directly after it. */
export function lastErrno(): number {
  return koffi.errno();
}

/** Passes a call's result through. @throws SystemError when it is negative. */
export function check(result: number, syscall: string, subject: string): number {
  if (result < 0) throw new SystemError(syscall, koffi.errno(), subject);
  return result;
}
