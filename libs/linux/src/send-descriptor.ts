import { c, check } from './libc.js';

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** struct cmsghdr: a length, a level and a type before what is sent. */
const HEADER_BYTES = 16;
const DESCRIPTOR_BYTES = 4;
/** CMSG_SPACE of one descriptor: whole words. */
const CONTROL_BYTES = 24;

/**
 * Sends bytes and a copy of a descriptor over a connected Unix socket, unix(7), all at once or not at all: few bytes, and with
 * nothing of the caller's still on its way there. @throws SystemError EAGAIN when the other side does not read
 */
export function sendDescriptor(socket: number, bytes: Buffer, descriptor: number): void {
  const control = Buffer.alloc(CONTROL_BYTES);
  control.writeBigUInt64LE(BigInt(HEADER_BYTES + DESCRIPTOR_BYTES), 0);
  control.writeInt32LE(SOL_SOCKET, 8);
  control.writeInt32LE(SCM_RIGHTS, 12);
  control.writeInt32LE(descriptor, HEADER_BYTES);
  const message = {
    name: null,
    nameLength: 0,
    parts: [{ base: bytes, length: bytes.length }],
    partCount: 1,
    control,
    controlLength: CONTROL_BYTES,
    flags: 0,
  };
  const sent = check(c.sendmsg(socket, message, MSG_DONTWAIT | MSG_NOSIGNAL), 'sendmsg', 'descriptor');
  if (sent !== bytes.length) throw new Error(`${sent} of ${bytes.length} bytes were sent`);
}
