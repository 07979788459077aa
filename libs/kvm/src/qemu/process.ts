import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import {
  hasCode,
  isAlive,
  openTap,
  openVsock,
  processIdentity,
  signalProcess,
  type ProcessIdentity,
} from '@berth/linux';
import { argumentsOf } from '../driver/qemu-process.js';
import { isVmUid } from './vm-uids.js';

/** A QEMU that was just started. */
export interface QemuChild {
  readonly identity: ProcessIdentity;
  /** The end of what it said on its error output, for people. */
  readonly words: () => string;
  /** Resolves when it has ended: with the signal, or null when it ended by itself. */
  readonly ended: Promise<NodeJS.Signals | null>;
}

const MAX_WORDS = 16 * 1024;
const TERM_MS = 3_000;
const KILL_MS = 10_000;

/**
 * Starts QEMU in a session of its own, as `uid` with no capability, no other group than `groups` and no way to gain
 * more; it outlives this process. It stands still, at its very beginning, until SIGCONT. Its error output is a pipe: after
 * our end QEMU's words go nowhere, and cost nothing.
 * @param inherited names of taps, then paths of files to read, then a vsock device with this context id, which become descriptors 3, 4, …
 * @throws Error when it cannot be started.
 */
export async function launchQemu(
  program: string,
  args: readonly string[],
  who: { readonly uid: number; readonly groups: readonly number[] },
  inherited: {
    readonly taps: readonly string[];
    readonly files: readonly string[];
    readonly vsockCid: number | null;
  },
): Promise<QemuChild> {
  const identity = [`--reuid=${who.uid}`, `--regid=${who.uid}`];
  const groups = who.groups.length === 0 ? '--clear-groups' : `--groups=${who.groups.join(',')}`;
  const weak = ['--no-new-privs', '--inh-caps=-all', '--ambient-caps=-all', '--bounding-set=-all'];
  const descriptors: number[] = [];
  let child: ChildProcess;
  try {
    for (const tap of inherited.taps) descriptors.push(openTap(tap));
    for (const path of inherited.files) descriptors.push(openSync(path, 'r'));
    if (inherited.vsockCid !== null) descriptors.push(openVsock(inherited.vsockCid));
    child = spawn('setpriv', [...identity, groups, ...weak, '--', program, ...args], {
      detached: true,
      cwd: '/',
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
      stdio: ['ignore', 'ignore', 'pipe', ...descriptors],
    });
  } finally {
    for (const fd of descriptors) closeSync(fd);
  }
  const words = collect(child);
  const { pid } = child;
  // Before it becomes QEMU, so that all its memory is accounted where the caller puts it.
  if (pid !== undefined) signalIfThere(pid, 'SIGSTOP');
  if (pid === undefined) throw await new Promise<Error>((resolve) => child.once('error', resolve));
  child.on('error', () => undefined);
  const ended = new Promise<NodeJS.Signals | null>((resolve) =>
    child.once('close', (_code, signal) => resolve(signal)),
  );
  child.unref();
  const running = processIdentity(pid);
  if (running === null) throw new Error(await lastWords(child, words));
  return { identity: running, words, ended };
}

function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!hasCode(error, 'ESRCH')) throw error;
  }
}

function collect(child: ChildProcess): () => string {
  let text = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    text = (text + chunk.toString('utf8')).slice(-MAX_WORDS);
  });
  child.stderr?.on('error', () => undefined);
  // A socket below; it must not keep this process from ending.
  (child.stderr as unknown as { unref?: () => void } | null)?.unref?.();
  return () => text.trim();
}

async function lastWords(child: ChildProcess, words: () => string): Promise<string> {
  if (child.exitCode === null && child.signalCode === null)
    await new Promise((resolve) => child.once('close', resolve));
  return words() || `QEMU ended at once with ${child.exitCode ?? child.signalCode}`;
}

/** Ends exactly this process and waits until it is gone: politely first, so that disks are closed. @throws Error */
export async function endProcess(identity: ProcessIdentity, termMs = TERM_MS): Promise<void> {
  if (termMs > 0 && signalProcess(identity, 'SIGTERM')) {
    // One that stands still would never hear it.
    signalProcess(identity, 'SIGCONT');
    if (await goneWithin(identity, termMs)) return;
  }
  if (signalProcess(identity, 'SIGKILL') && !(await goneWithin(identity, KILL_MS)))
    throw new Error(`process ${identity.pid} survives SIGKILL`);
}

/** A zombie is gone: it holds nothing any more, whoever reaps it. */
async function goneWithin(identity: ProcessIdentity, ms: number): Promise<boolean> {
  const end = performance.now() + ms;
  for (let pause = 1; isAlive(identity); pause = Math.min(pause * 2, 20)) {
    if (performance.now() > end) return false;
    await wait(pause);
  }
  return true;
}

/** The QEMU that was told to listen on this socket, whatever became of its record. Null when there is none. */
export async function findByArgument(argument: string): Promise<ProcessIdentity | null> {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const args = await argumentsOf(Number(name));
    if (!args.includes(argument)) continue;
    // Anybody may write such a command line; ours is still root's before it becomes its own user's.
    const { uid } = await stat(`/proc/${name}`).catch(() => ({ uid: -1 }));
    const identity = uid === 0 || isVmUid(uid) ? processIdentity(Number(name)) : null;
    if (identity !== null) return identity;
  }
  return null;
}
