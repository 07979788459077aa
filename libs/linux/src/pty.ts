import { closeSync, constants, openSync } from 'node:fs';
import { c, check } from './libc.js';

// Numbers are those of x86-64 and arm64: ioctl_tty(2).
const TIOCSPTLCK = 0x40045431;
const TIOCGPTPEER = 0x5441;
const TIOCSWINSZ = 0x5414;
/** Open without making it anybody's controlling terminal. */
const O_NOCTTY = 0x100;

export interface PtySize {
  readonly columns: number;
  readonly rows: number;
}

/** Descriptors of one pseudo-terminal; whoever opened it closes them. */
export interface Pty {
  /** To read from; a stream may own it. */
  readonly master: number;
  /** The same, to write to and to resize, so that its owner knows when it is closed. */
  readonly input: number;
  /** For the process that is to have the terminal. */
  readonly slave: number;
}

/** Makes a pseudo-terminal (pty(7)) of a size. @throws SystemError */
export function ptyOpen(size: PtySize): Pty {
  const master = openSync('/dev/ptmx', constants.O_RDWR | O_NOCTTY);
  try {
    check(c.ioctlPointer(master, TIOCSPTLCK, Buffer.alloc(4)), 'TIOCSPTLCK', '/dev/ptmx');
    const slave = check(c.ioctlNumber(master, TIOCGPTPEER, constants.O_RDWR | O_NOCTTY), 'TIOCGPTPEER', '');
    ptyResize(master, size);
    return { master, input: check(c.dup(master), 'dup', 'pty'), slave };
  } catch (error) {
    closeSync(master);
    throw error;
  }
}

/** Sets the size, which a process that reads it from the other side is told by SIGWINCH only if it is in its session. */
export function ptyResize(fd: number, { columns, rows }: PtySize): void {
  // struct winsize: rows, columns, and two sizes in pixels that nobody fills
  const size = Buffer.alloc(8);
  size.writeUInt16LE(rows, 0);
  size.writeUInt16LE(columns, 2);
  check(c.ioctlPointer(fd, TIOCSWINSZ, size), 'TIOCSWINSZ', 'pty');
}
