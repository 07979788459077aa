import { constants, openSync } from 'node:fs';
import { lchown, mkdir, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { dirname } from 'node:path';
import { hasCode, mkfifo } from '@berth/linux';
import { RuntimeError } from '@berth/runtime';
import type { QmpExecutor } from '../qmp/commands.js';
import type { Account } from './qemu-account.js';

/*
 * The first serial port of every machine writes to its log, by a chardev of type `file`: whoever watches reads the log,
 * and no guest waits for anybody. What is typed comes by a named pipe, which the chardev is given as its input when
 * somebody first wants to type (ADR 15):
 *
 *   log only -> pipe made -> held by QEMU (a chardev of its own) -> read by the serial port -> … -> QEMU ends
 *
 * QEMU holds both ends, so that opening the pipe never waits, and the end of an agent is no end of the input.
 */

/** The chardev by which QEMU holds the pipe open. */
const HOLD = 'berth-typed';

export interface SerialPort {
  /** Id of its chardev. */
  readonly chardev: string;
  /** What the chardev writes to, as QEMU knows it. */
  readonly out: string;
  /** Path of the named pipe, in a directory in which only root writes: nobody can put anything else there. */
  readonly pipe: string;
}

/**
 * Connects to what a serial port reads, and sets that up if need be. Repeating it is no error.
 * @param account of the QEMU
 * @throws RuntimeError hostFault when QEMU is gone; what the executor throws
 */
export async function serialInput(qmp: QmpExecutor, port: SerialPort, account: Account): Promise<Socket> {
  if (!(await isHeld(qmp))) {
    await pipeMake(port.pipe, account);
    // Opened for both directions, since there is no `<pipe>.in`: that does not wait.
    await qmp.execute('chardev-add', { id: HOLD, backend: { type: 'pipe', data: { device: port.pipe } } });
  }
  await chardevSwap(qmp, port, true);
  const fd = openedForWriting(port.pipe);
  return new Socket({ fd, readable: false, writable: true });
}

/** Gives a serial port this log to append to; what it reads stays. */
export async function serialSwap(qmp: QmpExecutor, port: SerialPort): Promise<void> {
  await chardevSwap(qmp, port, await isHeld(qmp));
}

async function chardevSwap(
  qmp: QmpExecutor,
  { chardev, out, pipe }: SerialPort,
  typed: boolean,
): Promise<void> {
  const input = typed ? { in: pipe } : {};
  const backend = { type: 'file', data: { out, append: true, ...input } } as const;
  await qmp.execute('chardev-change', { id: chardev, backend });
}

async function isHeld(qmp: QmpExecutor): Promise<boolean> {
  return (await qmp.execute('query-chardev')).some(({ label }) => label === HOLD);
}

/** A new one, whatever an earlier QEMU left; only QEMU and root may open it. */
async function pipeMake(path: string, { uid, gid }: Account): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o711 });
  await rm(path, { force: true });
  mkfifo(path, 0o600);
  await lchown(path, uid, gid);
}

function openedForWriting(path: string): number {
  try {
    // Refused at once where nobody reads.
    return openSync(path, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch (cause) {
    if (!hasCode(cause, 'ENXIO', 'ENOENT')) throw cause;
    throw new RuntimeError('hostFault', 'the machine takes no input at its serial port', { cause });
  }
}
