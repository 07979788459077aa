import { closeSync, openSync } from 'node:fs';
import { c, check } from './libc.js';
import { SystemError } from './errno.js';

/*
 * The kernel's side of guests' vsock devices (Linux, include/uapi/linux/vhost.h and drivers/vhost/vsock.c). A context id belongs to who has
 * set it at an open device, until that is closed by all who have it.
 */

const DEVICE = '/dev/vhost-vsock';
const VHOST_GET_FEATURES = 0x8008af00;
const VHOST_VSOCK_SET_GUEST_CID = 0x4008af60;

/**
 * Why this host can give no machine a vsock device; null when it can. Opening it loads the kernel's module, and what answers by
 * that name must know what vhost asks.
 */
export function vsockRefusal(device = DEVICE): string | null {
  try {
    const fd = openSync(device, 'r+');
    try {
      check(c.ioctlPointer(fd, VHOST_GET_FEATURES, Buffer.alloc(8)), 'VHOST_GET_FEATURES', device);
      return null;
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    return (error as Error).message;
  }
}

/**
 * Opens a vsock device with this context id, for handing it to a process that may not open it. The caller closes the descriptor.
 * @throws SystemError EADDRINUSE while another guest of this host has it; an error of open(2) where there is no such device
 */
export function openVsock(cid: number, device = DEVICE): number {
  const argument = Buffer.alloc(8);
  argument.writeBigUInt64LE(BigInt(cid));
  const fd = openSync(device, 'r+');
  try {
    check(c.ioctlPointer(fd, VHOST_VSOCK_SET_GUEST_CID, argument), 'VHOST_VSOCK_SET_GUEST_CID', String(cid));
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Whether no guest of this host has it. @throws as {@link openVsock} */
export function isVsockFree(cid: number, device = DEVICE): boolean {
  try {
    closeSync(openVsock(cid, device));
    return true;
  } catch (error) {
    if (error instanceof SystemError && error.code === 'EADDRINUSE') return false;
    throw error;
  }
}
