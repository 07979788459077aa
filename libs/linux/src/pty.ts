import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  statSync,
} from 'node:fs';
import { hasCode } from './errno.js';
import { c, check, SYS } from './libc.js';

// Numbers are those of x86-64 and arm64: ioctl_tty(2), termios(3), fcntl(2).
const TCGETS = 0x5401;
const TCSETS = 0x5402;
const FIONBIO = 0x5421;
const TIOCSPTLCK = 0x40045431;
const TIOCGPTPEER = 0x5441;
const TIOCSWINSZ = 0x5414;
/** Open without making it anybody's controlling terminal. */
const O_NOCTTY = 0x100;
const O_CLOEXEC = 0x80000;
const F_DUPFD_CLOEXEC = 1030;

// struct termios: four words of flags (input, output, control, local), the line discipline, 19 characters
const TERMIOS_BYTES = 36;
const [IFLAG, OFLAG, CFLAG, LFLAG] = [0, 4, 8, 12];
/** What cfmakeraw(3) takes away: IGNBRK BRKINT PARMRK ISTRIP INLCR IGNCR ICRNL IXON; ECHO ECHONL ICANON ISIG IEXTEN; CSIZE PARENB. */
const COOKED_INPUT = 0o2753;
const COOKED_LOCAL = 0o100113;
const COOKED_CONTROL = 0o460;
const CS8 = 0o60;
const OPOST = 0o1;
/** A line feed goes out as a carriage return and a line feed. */
const ONLCR = 0o4;

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

/** Makes a pseudo-terminal (pty(7)) of a size that only carries bytes: raw, also where OPOST is set again. @throws SystemError */
export function ptyOpen(size: PtySize): Pty {
  const master = openSync('/dev/ptmx', constants.O_RDWR | O_NOCTTY);
  try {
    check(c.ioctlPointer(master, TIOCSPTLCK, Buffer.alloc(4)), 'TIOCSPTLCK', '/dev/ptmx');
    ptyResize(master, size);
    const flags = flagsOf(master);
    flags.writeUInt32LE((flags.readUInt32LE(IFLAG) & ~COOKED_INPUT) >>> 0, IFLAG);
    flags.writeUInt32LE((flags.readUInt32LE(OFLAG) & ~(OPOST | ONLCR)) >>> 0, OFLAG);
    flags.writeUInt32LE(((flags.readUInt32LE(CFLAG) & ~COOKED_CONTROL) | CS8) >>> 0, CFLAG);
    flags.writeUInt32LE((flags.readUInt32LE(LFLAG) & ~COOKED_LOCAL) >>> 0, LFLAG);
    flagsSet(master, flags);
    const input = check(c.fcntl(master, F_DUPFD_CLOEXEC, 3), 'fcntl', 'pty');
    try {
      const how = constants.O_RDWR | O_NOCTTY | O_CLOEXEC;
      return { master, input, slave: check(c.ioctlNumber(master, TIOCGPTPEER, how), 'TIOCGPTPEER', '') };
    } catch (error) {
      closeSync(input);
      throw error;
    }
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

/**
 * Makes the terminal of this master end its lines with a carriage return too, as a new one does. @returns false where it did
 * already. What its program sets in the same instant may be undone: nobody can lock a terminal. @throws SystemError
 */
export function ptyEndLines(master: number): boolean {
  const flags = flagsOf(master);
  const output = flags.readUInt32LE(OFLAG);
  if ((output & ONLCR) !== 0) return false;
  flags.writeUInt32LE((output | ONLCR) >>> 0, OFLAG);
  flagsSet(master, flags);
  return true;
}

function flagsOf(fd: number): Buffer {
  const flags = Buffer.alloc(TERMIOS_BYTES);
  check(c.ioctlPointer(fd, TCGETS, flags), 'TCGETS', 'pty');
  return flags;
}

function flagsSet(fd: number, flags: Buffer): void {
  check(c.ioctlPointer(fd, TCSETS, flags), 'TCSETS', 'pty');
}

/**
 * A copy of the master of the pseudo-terminal that another process made or was given, pidfd_getfd(2); whoever takes it
 * closes it. Null where the process is gone or holds none (yet). @param own a master of ours: what is of the same mount of
 * pseudo-terminals is none of its own. A process that was just started has our descriptors until the kernel has closed them,
 * one after the other, and that may be after we were told that it runs. @throws SystemError EPERM without the right to trace it
 */
export function ptyMasterOf(pid: number, own: number): number | null {
  const fd = masterAmong(`/proc/${pid}/fd`, fstatSync(own).dev);
  if (fd === null) return null;
  const process = c.pidfdOpen(SYS.pidfdOpen, pid, 0);
  if (process < 0) return null;
  try {
    return check(c.pidfdGetfd(SYS.pidfdGetfd, process, fd, 0), 'pidfd_getfd', String(pid));
  } catch (error) {
    if (hasCode(error, 'ESRCH', 'EBADF')) return null;
    throw error;
  } finally {
    closeSync(process);
  }
}

function masterAmong(folder: string, ownDevice: number): number | null {
  try {
    const name = readdirSync(folder).find((n) => {
      const path = `${folder}/${n}`;
      return readlinkSync(path).endsWith('/ptmx') && statSync(path).dev !== ownDevice;
    });
    return name === undefined ? null : Number(name);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH')) return null;
    throw error;
  }
}

/** What is in a terminal for the holder of this master to read, at most `most` bytes, without waiting for more. */
export function* ptyRest(master: number, most: number): Generator<Buffer> {
  check(c.ioctlPointer(master, FIONBIO, Buffer.from([1, 0, 0, 0])), 'FIONBIO', 'pty');
  try {
    for (let left = most; left > 0;) {
      const room = Buffer.alloc(4096);
      const count = readSync(master, room);
      if (count === 0) return;
      left -= count;
      yield room.subarray(0, count);
    }
  } catch (error) {
    if (!hasCode(error, 'EIO', 'EAGAIN')) throw error; // nobody has the other end, or nothing is there
  }
}
