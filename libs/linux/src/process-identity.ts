import { closeSync, readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { setTimeout as wait } from 'node:timers/promises';
import { hasCode, SystemError } from './errno.js';
import { c, lastErrno, SYS } from './libc.js';

/** A process that cannot be mistaken for a later one with the same pid, not even after a reboot. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks after boot at which it started: field 22 of /proc/<pid>/stat (proc(5)). */
  readonly startTime: number;
  readonly bootId: string;
}

let boot: string | null = null;

/** The kernel's random id of this boot, which no process outlives. */
export function bootId(): string {
  return (boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
}

/**
 * Identity of a running process, or null when there is none. A zombie counts as none: it holds nothing any more.
 * The pid is read in this process's pid namespace.
 */
export function processIdentity(pid: number): ProcessIdentity | null {
  return processKin(pid)?.identity ?? null;
}

/** A running process with what it comes from. */
export interface ProcessKin {
  readonly identity: ProcessIdentity;
  /** Pid of its parent; 0 where that is in no pid namespace that is seen from here. */
  readonly parent: number;
  /** Pid of the process that began its session (setsid(2)), which may be gone. */
  readonly session: number;
}

/** Like `processIdentity`, with parent and session. */
export function processKin(pid: number): ProcessKin | null {
  if (!Number.isSafeInteger(pid) || pid <= 0) return null;
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH')) return null;
    throw error;
  }
  const parsed = parseStat(stat);
  if (parsed === null || parsed.dead) return null;
  const { startTime, parent, session } = parsed;
  return { identity: { pid, startTime, bootId: bootId() }, parent, session };
}

/** Reads what is needed out of a stat line. The command name may hold spaces and brackets: the last `)` ends it. */
export function parseStat(
  stat: string,
): { dead: boolean; startTime: number; parent: number; session: number } | null {
  const end = stat.lastIndexOf(')');
  if (end < 0) return null;
  const fields = stat.slice(end + 2).split(' ');
  const [parent, session, startTime] = [fields[1], fields[3], fields[19]].map(Number) as [
    number,
    number,
    number,
  ];
  if (fields[0] === undefined || !Number.isSafeInteger(startTime)) return null;
  return { dead: 'ZXx'.includes(fields[0]), startTime, parent, session };
}

/** Whether exactly this process still runs. */
export function isAlive(identity: ProcessIdentity): boolean {
  const now = processIdentity(identity.pid);
  return now !== null && now.startTime === identity.startTime && now.bootId === identity.bootId;
}

/**
 * Sends a signal to exactly this process: the pidfd is opened first and the identity compared after, so a recycled pid
 * is never hit. Returns false when the process is gone. @throws SystemError EPERM.
 */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals | number): boolean {
  const fd = c.pidfdOpen(SYS.pidfdOpen, identity.pid, 0);
  if (fd < 0) {
    const errno = lastErrno();
    if (errno === constants.errno.ESRCH) return false;
    throw new SystemError('pidfd_open', errno, `pid ${identity.pid}`);
  }
  try {
    if (!isAlive(identity)) return false;
    const number = typeof signal === 'number' ? signal : constants.signals[signal];
    if (c.pidfdSendSignal(SYS.pidfdSendSignal, fd, number, null, 0) === 0) return true;
    const errno = lastErrno();
    if (errno === constants.errno.ESRCH) return false;
    throw new SystemError('pidfd_send_signal', errno, `pid ${identity.pid}`);
  } finally {
    closeSync(fd);
  }
}

/** Asks a process to end (SIGTERM), forces it after a while, and returns when it is gone. One that is gone is no error. */
export async function processEnd(identity: ProcessIdentity, graceMs = 2000): Promise<void> {
  const start = performance.now();
  signalProcess(identity, 'SIGTERM');
  for (let pause = 1; isAlive(identity); pause = Math.min(20, pause * 2)) {
    if (performance.now() - start > graceMs) signalProcess(identity, 'SIGKILL');
    await wait(pause);
  }
}

/** Processes that were started with exactly this argument, whoever started them. */
export function processesWith(argument: string): ProcessIdentity[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name) && argumentsOf(name).includes(argument))
    .flatMap((name) => processIdentity(Number(name)) ?? []);
}

function argumentsOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return []; // ended meanwhile
  }
}
