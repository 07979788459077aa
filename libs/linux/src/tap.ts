import { closeSync, openSync } from 'node:fs';
import { c, check } from './libc.js';
import { ifnameCheck } from './netlink-codec.js';
import { inNetns } from './netns.js';

const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOWNER = 0x400454cc;
const TUNSETGROUP = 0x400454ce;
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;

export interface TapOptions {
  /** The user that may open the tap. */
  readonly uid: number;
  /** When given, the opener must also be of this group: the kernel wants both to match. */
  readonly gid?: number;
  /** Path of the network namespace to make it in. */
  readonly netns?: string;
}

/**
 * Makes a persistent tap (Documentation/networking/tuntap.rst) that outlives this process and that an unprivileged
 * process can open by name. Repeating it only sets the owner again. @throws SystemError EBUSY while it is open.
 */
export function createTap(name: string, options: TapOptions): void {
  ifnameCheck(name);
  const open = () => openSync('/dev/net/tun', 'r+');
  const fd = options.netns === undefined ? open() : inNetns(options.netns, open);
  try {
    check(c.ioctlPointer(fd, TUNSETIFF, tapRequest(name)), 'TUNSETIFF', name);
    check(c.ioctlNumber(fd, TUNSETOWNER, options.uid), 'TUNSETOWNER', name);
    if (options.gid !== undefined) check(c.ioctlNumber(fd, TUNSETGROUP, options.gid), 'TUNSETGROUP', name);
    check(c.ioctlNumber(fd, TUNSETPERSIST, 1), 'TUNSETPERSIST', name);
  } finally {
    closeSync(fd);
  }
}

/**
 * Opens a tap that exists, for handing it to a process that may not open `/dev/net/tun`. The caller closes the
 * descriptor. @throws SystemError EBUSY while another process has it open.
 */
export function openTap(name: string): number {
  ifnameCheck(name);
  const fd = openSync('/dev/net/tun', 'r+');
  try {
    check(c.ioctlPointer(fd, TUNSETIFF, tapRequest(name)), 'TUNSETIFF', name);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** struct ifreq with the flags every tap of ours has. */
function tapRequest(name: string): Buffer {
  const request = Buffer.alloc(40);
  request.write(name, 0, 'ascii');
  request.writeUInt16LE(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, 16);
  return request;
}
