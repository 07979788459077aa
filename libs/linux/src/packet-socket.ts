import { closeSync, constants, openSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { c, check, lastErrno } from './libc.js';
import { SystemError } from './errno.js';

/* Sockets of unix(7) that keep the bounds of messages, which Node has none of. */
const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SHUT_RD = 0;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const EAGAIN = 11;

/**
 * Connects to a unix socket for messages (SOCK_SEQPACKET), for sending alone: whoever writes to us gets EPIPE and waits for nobody.
 * Null where its queue is full: try again. The caller closes the descriptor. @throws SystemError ENOENT, ECONNREFUSED
 */
export function packetSenderOpen(path: string): number | null {
  // By its directory: a path longer than sun_path (108 bytes) cannot be named.
  const directory = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const fd = check(c.socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), 'socket', path);
    const name = Buffer.from(`/proc/self/fd/${directory}/${basename(path)}\0`);
    const address = Buffer.alloc(2 + name.length);
    address.writeUInt16LE(AF_UNIX);
    name.copy(address, 2);
    try {
      if (c.connect(fd, address, address.length) < 0) {
        if (lastErrno() !== EAGAIN) throw new SystemError('connect', lastErrno(), path);
        closeSync(fd);
        return null;
      }
      check(c.shutdown(fd, SHUT_RD), 'shutdown', path);
      return fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  } finally {
    closeSync(directory);
  }
}

/** Sends one message. False where there is no room now. @throws SystemError EPIPE when nobody reads any more */
export function packetSend(fd: number, bytes: Uint8Array): boolean {
  if (c.send(fd, Buffer.from(bytes), bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return true;
  if (lastErrno() === EAGAIN) return false;
  throw new SystemError('send', lastErrno(), `descriptor ${fd}`);
}
