import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { isAlive, processIdentity, signalProcess, writeFileAtomic, type ProcessIdentity } from '@berth/linux';
import { backoffMs } from './backoff.js';
import { sleep } from './wait.js';

/*
 *  idle -> starting -> ready
 *            ^  |        |  process ends
 *            |  v        v
 *           backoff <----+        any -> stopping -> idle
 */
export type ComponentState = 'idle' | 'starting' | 'ready' | 'backoff' | 'stopping' | 'external';

/** The first pause between two questions whether a process serves, ms. Each asks the process, or runs another one, so they grow. */
const firstLookMs = 50;
const slowestLookMs = 300;

/** One process the supervisor keeps alive. */
export interface ComponentSpec {
  readonly name: string;
  readonly command: string;
  readonly args: () => readonly string[] | Promise<readonly string[]>;
  readonly env?: () => NodeJS.ProcessEnv | Promise<NodeJS.ProcessEnv>;
  readonly cwd?: string;
  readonly logFile: string;
  /** Where the identity of the process is kept. */
  readonly record: string;
  /** Keeps running when the supervisor ends, and is adopted by the next one. */
  readonly outlives: boolean;
  readonly stopSignal: NodeJS.Signals;
  readonly stopTimeoutMs: number;
  /** Null when it serves, else what it still waits for. */
  readonly ready: () => Promise<string | null>;
  /** Work before each start; an error counts as a failed start. */
  readonly prepare?: () => Promise<void>;
  /** Answers whether something else already does this job; then nothing is started. */
  readonly external?: () => Promise<boolean>;
  /** Where it can be reached, for people. */
  readonly address?: string;
}

export interface ComponentStatus {
  readonly name: string;
  readonly state: ComponentState;
  readonly pid: number | null;
  readonly since: string | null;
  readonly restarts: number;
  readonly message: string;
  readonly address: string | null;
  readonly logFile: string;
}

/** Keeps one process alive: starts it, waits until it serves, and starts it again with growing pauses when it ends. */
export class Component {
  private state: ComponentState = 'idle';
  private identity: ProcessIdentity | null = null;
  private since: Date | null = null;
  private restarts = 0;
  private failuresInARow = 0;
  private message = '';
  private loop: Promise<void> | null = null;
  private stopping: AbortController | null = null;

  constructor(
    readonly spec: ComponentSpec,
    private readonly report: (line: string) => void,
    /** Longest pause before another start, milliseconds. */
    private readonly pauseMaxMs: number,
  ) {}

  status(): ComponentStatus {
    return {
      name: this.spec.name,
      state: this.state,
      pid: this.identity?.pid ?? null,
      since: this.since?.toISOString() ?? null,
      restarts: this.restarts,
      message: this.message,
      address: this.spec.address ?? null,
      logFile: this.spec.logFile,
    };
  }

  /** Begins to keep the process alive; returns at once. */
  start(): void {
    if (this.loop !== null) return;
    this.stopping = new AbortController();
    this.loop = this.keep(this.stopping.signal).catch((error: Error) => {
      this.report(`${this.spec.name}: the supervisor itself failed: ${error.stack ?? error.message}`);
    });
  }

  /** Resolves when it serves, whoever runs it. */
  async whenReady(signal: AbortSignal): Promise<void> {
    while (this.state !== 'ready' && this.state !== 'external') {
      await sleep(50, signal);
    }
  }

  /** Leaves the process alone and stops watching it (for processes that outlive the supervisor). */
  async release(): Promise<void> {
    this.stopping?.abort();
    await this.loop;
    this.loop = null;
  }

  /**
   * Ends the process: the stop signal first, SIGKILL after the time-out. Nothing happens to an external one.
   * @throws Error when the process outlives SIGKILL; it stays recorded
   */
  async stop(): Promise<void> {
    await this.release();
    const { identity } = this;
    if (identity !== null && isAlive(identity)) {
      this.to('stopping', `signal ${this.spec.stopSignal}`);
      signalProcess(identity, this.spec.stopSignal);
      const ended = await waitGone(identity, this.spec.stopTimeoutMs);
      if (!ended) {
        this.report(`${this.spec.name}: still there after ${this.spec.stopTimeoutMs} ms, killing it`);
        signalProcess(identity, 'SIGKILL');
        if (!(await waitGone(identity, 5000)))
          throw new Error(`process ${identity.pid} is still there 5 s after SIGKILL: it hangs in the kernel`);
      }
    }
    this.identity = null;
    rmSync(this.spec.record, { force: true });
    this.to('idle', '');
  }

  private async keep(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (await this.adoptOrLeave(signal)) continue;
      if (signal.aborted) return;
      const begun = Date.now();
      const end = await this.runOnce(signal);
      if (signal.aborted) return;
      if (Date.now() - begun > 60_000) this.failuresInARow = 0;
      const pause = backoffMs(this.failuresInARow++, this.pauseMaxMs);
      this.restarts++;
      this.identity = null;
      this.to('backoff', `${end}; next start in ${Math.round(pause / 100) / 10} s`);
      await sleep(pause, signal).catch(() => undefined);
    }
  }

  /** Watches a process of an earlier supervisor, or a foreign one, until it ends. False: there is none. */
  private async adoptOrLeave(signal: AbortSignal): Promise<boolean> {
    const recorded = await this.recorded();
    if (recorded !== null) {
      this.identity = recorded.identity;
      this.since = new Date(recorded.since);
      await this.untilServing(signal, () => isAlive(recorded.identity));
      await watch(signal, () => isAlive(recorded.identity));
      if (!signal.aborted) this.identity = null;
      return true;
    }
    const external = this.spec.external;
    if (external === undefined || !(await external())) return false;
    this.to('external', 'already there, left as it is');
    await watch(signal, external, 5000);
    return true;
  }

  private async recorded(): Promise<{ identity: ProcessIdentity; since: string } | null> {
    if (!this.spec.outlives) return null;
    try {
      const record = JSON.parse(readFileSync(this.spec.record, 'utf8')) as {
        identity: ProcessIdentity;
        since: string;
      };
      return isAlive(record.identity) ? record : null;
    } catch {
      return null;
    }
  }

  /** One run from start to end. The result says how it ended. */
  private async runOnce(signal: AbortSignal): Promise<string> {
    this.to('starting', 'preparing');
    try {
      await this.spec.prepare?.();
      const child = await this.launch();
      const ended = new Promise<string>((resolve) => {
        child.once('error', (error) => resolve(error.message));
        child.once('exit', (code, by) => resolve(by === null ? `exited with ${code}` : `ended by ${by}`));
      });
      let alive = true;
      void ended.then(() => (alive = false));
      await this.remember(child.pid);
      await this.untilServing(signal, () => Promise.resolve(alive));
      const end = await Promise.race([ended, aborted(signal)]);
      if (!signal.aborted) this.report(`${this.spec.name}: ${end}`);
      return end;
    } catch (error) {
      if (!signal.aborted) this.report(`${this.spec.name}: cannot start: ${(error as Error).message}`);
      return (error as Error).message;
    }
  }

  private async launch(): Promise<ReturnType<typeof spawn>> {
    mkdirSync(dirname(this.spec.logFile), { recursive: true, mode: 0o750 });
    const args = await this.spec.args();
    const env = (await this.spec.env?.()) ?? process.env;
    const log = openSync(this.spec.logFile, 'a', 0o640);
    try {
      return spawn(this.spec.command, args, {
        detached: true,
        stdio: ['ignore', log, log],
        env,
        ...(this.spec.cwd === undefined ? {} : { cwd: this.spec.cwd }),
      });
    } finally {
      closeSync(log);
    }
  }

  private async remember(pid: number | undefined): Promise<void> {
    this.identity = pid === undefined ? null : processIdentity(pid);
    this.since = new Date();
    if (this.identity === null) return;
    const record = { identity: this.identity, since: this.since.toISOString() };
    mkdirSync(dirname(this.spec.record), { recursive: true, mode: 0o750 });
    await writeFileAtomic(this.spec.record, `${JSON.stringify(record)}\n`, { mode: 0o640 });
  }

  private async untilServing(signal: AbortSignal, alive: () => boolean | Promise<boolean>): Promise<void> {
    let pause = firstLookMs;
    while (!signal.aborted && (await alive())) {
      const asked = this.spec.ready().catch((error: Error) => error.message);
      // An answer that does not come must not hold up the way down.
      const waitsFor = await Promise.race([asked, aborted(signal)]);
      if (signal.aborted) return;
      if (waitsFor === null) {
        this.to('ready', '');
        return;
      }
      this.to('starting', waitsFor);
      await sleep(pause, signal).catch(() => undefined);
      pause = Math.min(pause * 1.5, slowestLookMs);
    }
  }

  private to(state: ComponentState, message: string): void {
    if (this.state !== state)
      this.report(`${this.spec.name}: ${state}${message === '' ? '' : ` (${message})`}`);
    this.state = state;
    this.message = message;
  }
}

/** Resolves when the answer turns false or the signal fires. */
async function watch(
  signal: AbortSignal,
  holds: () => boolean | Promise<boolean>,
  everyMs = 500,
): Promise<void> {
  while (!signal.aborted && (await holds())) await sleep(everyMs, signal).catch(() => undefined);
}

async function waitGone(identity: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  const deadline = Date.now() + timeoutMs;
  while (isAlive(identity)) {
    if (Date.now() > deadline) return false;
    await sleep(20);
  }
  return true;
}

function aborted(signal: AbortSignal): Promise<string> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve('left');
    else signal.addEventListener('abort', () => resolve('left'), { once: true });
  });
}
