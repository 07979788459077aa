import { closeSync, openSync, unlinkSync } from 'node:fs';
import { deviceNodeMake } from './device-node.js';
import { hasCode } from './errno.js';
import { c, check } from './libc.js';

/*
 * Loop devices (loop(4), include/uapi/linux/loop.h): a file as a block device. The kernel has them without a namespace, so
 * that everything here bears with others who take and give them back meanwhile.
 */

const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;
const LOOP_GET_STATUS64 = 0x4c05;
const LOOP_SET_CAPACITY = 0x4c07;
/** The device lets go of its file when the last who uses it is gone: a mount, or whoever has it open. */
const AUTOCLEAR = 4;
/** What is cached of the file system is not cached again of its file. Ignored where the file's file system has no such I/O. */
const DIRECT_IO = 16;
/** Block devices of this driver. */
const LOOP_MAJOR = 7;
/** struct loop_info64, and struct loop_config around it. */
const INFO = { size: 232, flags: 52, name: 56, nameSize: 64 } as const;
const CONFIG = { size: 304, fd: 0, blockSize: 4, info: 8 } as const;
const BLOCK_SIZE = 512;
const ATTEMPTS = 64;

/** A device with a file behind it, for as long as this is open or its file system is mounted. */
export interface LoopDevice {
  readonly number: number;
  /** Its node in /dev, where mount(2) finds it. */
  readonly path: string;
  /** The size of the file has changed: the device has that size then. @throws SystemError */
  resize(): void;
  close(): void;
}

/**
 * A free device gets this file. `name`, at most 63 bytes, is what `loopAgain` knows it by.
 * @throws SystemError ENOENT, ENODEV where the kernel has no loop devices, and what the kernel says of the file
 */
export function loopAttach(file: string, name: string): LoopDevice {
  const backing = openSync(file, 'r+');
  try {
    for (let attempt = 1; ; attempt += 1) {
      const device = deviceOpen(freeNumber());
      try {
        check(
          c.ioctlPointer(device.fd, LOOP_CONFIGURE, configuration(backing, name)),
          'LOOP_CONFIGURE',
          file,
        );
        return loopDevice(device);
      } catch (error) {
        device.close();
        // Somebody else took it between the two calls.
        if (!hasCode(error, 'EBUSY') || attempt === ATTEMPTS) throw error;
      }
    }
  } finally {
    closeSync(backing);
  }
}

/** The device of this number if it still has the file that it was given under this name, else null. */
export function loopAgain(number: number, name: string): LoopDevice | null {
  let device: OpenDevice;
  try {
    device = deviceOpen(number);
  } catch (error) {
    if (hasCode(error, 'ENXIO', 'ENOENT', 'ENODEV')) return null;
    throw error;
  }
  // While it is open here it does not let go of the file.
  if (nameOf(device.fd) === name) return loopDevice(device);
  device.close();
  return null;
}

interface OpenDevice {
  readonly number: number;
  readonly path: string;
  readonly fd: number;
  close(): void;
}

const loopDevice = ({ number, path, fd, close }: OpenDevice): LoopDevice => ({
  number,
  path,
  resize: () => void check(c.ioctlNumber(fd, LOOP_SET_CAPACITY, 0), 'LOOP_SET_CAPACITY', path),
  close,
});

function freeNumber(): number {
  const control = openSync('/dev/loop-control', 'r+');
  try {
    return check(c.ioctlNumber(control, LOOP_CTL_GET_FREE, 0), 'LOOP_CTL_GET_FREE', '/dev/loop-control');
  } finally {
    closeSync(control);
  }
}

/** Where /dev is no devtmpfs, a device that is new to the kernel has no node: it gets one for as long as it is open here. */
function deviceOpen(number: number): OpenDevice {
  const path = `/dev/loop${number}`;
  let made = false;
  for (;;) {
    try {
      const fd = openSync(path, 'r+');
      const close = (): void => {
        closeSync(fd);
        if (made) removeNode(path);
      };
      return { number, path, fd, close };
    } catch (error) {
      if (made) removeNode(path);
      if (made || !hasCode(error, 'ENOENT')) throw error;
      deviceNodeMake(path, { type: 'block', major: LOOP_MAJOR, minor: number }, 0o600);
      made = true;
    }
  }
}

function removeNode(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
  }
}

function configuration(backing: number, name: string): Buffer {
  if (Buffer.byteLength(name) >= INFO.nameSize) throw new RangeError(`too long for a loop device: ${name}`);
  const config = Buffer.alloc(CONFIG.size);
  config.writeUInt32LE(backing, CONFIG.fd);
  config.writeUInt32LE(BLOCK_SIZE, CONFIG.blockSize);
  config.writeUInt32LE(AUTOCLEAR | DIRECT_IO, CONFIG.info + INFO.flags);
  config.write(name, CONFIG.info + INFO.name, 'latin1');
  return config;
}

/** Null where it has no file. */
function nameOf(fd: number): string | null {
  const info = Buffer.alloc(INFO.size);
  if (c.ioctlPointer(fd, LOOP_GET_STATUS64, info) < 0) return null;
  const name = info.subarray(INFO.name, INFO.name + INFO.nameSize);
  return name.subarray(0, Math.max(0, name.indexOf(0))).toString('latin1');
}
