import { setTimeout as wait } from 'node:timers/promises';
import type { ExecOpen, ExitInfo, TerminalEnd } from '@berth/model';
import { TerminalPipe, type Terminal, type TerminalOutput } from '@berth/runtime';
import type { QgaAgent } from '../qga/agent.js';
import { QgaError, QgaTransportError } from '../qga/transport.js';

/** The agent takes all input with the program's start, in one line. */
const MAX_INPUT = 1024 * 1024;
const FIRST_LOOK_MS = 50;
const SLOWEST_LOOK_MS = 1_000;
/** Given where a program gets an environment: the agent looks the program up in it. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * A program that the agent in a guest runs:
 *
 *   collects input -(its end)-> started -> looked at again and again -> output, exit code
 *
 * A guest that does not answer may be paused: it is asked again until the machine or this terminal ends.
 */
export class GuestProcess implements Terminal {
  readonly ended: Promise<TerminalEnd | null>;
  readonly #pipe = new TerminalPipe();
  readonly #over = new AbortController();
  #settle: (end: TerminalEnd | null) => void = () => undefined;
  /** Null once it has begun. */
  #input: Buffer[] | null = [];
  #inputBytes = 0;
  /** The guest's, while it runs. */
  #pid: number | null = null;

  constructor(
    private readonly open: ExecOpen,
    private readonly agent: Pick<QgaAgent, 'exec' | 'execStatus'>,
    workloadEnd: Promise<ExitInfo | null>,
    signal: AbortSignal,
  ) {
    this.ended = new Promise((resolve) => (this.#settle = resolve));
    void workloadEnd.then((exit) => this.#end({ reason: 'workloadEnded', exit }));
    signal.addEventListener('abort', () => this.close(), { once: true });
    if (signal.aborted) this.close();
  }

  get output(): AsyncIterable<TerminalOutput> {
    return this.#pipe;
  }

  write(bytes: Uint8Array): Promise<void> {
    this.#inputBytes += bytes.length;
    if (this.#inputBytes <= MAX_INPUT) this.#input?.push(Buffer.from(bytes));
    else this.#fail(`a guest agent takes at most ${MAX_INPUT} bytes of input`);
    return Promise.resolve();
  }

  endInput(): void {
    const input = this.#input;
    this.#input = null;
    if (input === null || this.#over.signal.aborted) return;
    this.#run(Buffer.concat(input)).catch((error: unknown) => this.#fail((error as Error).message));
  }

  resize(): void {}

  close(): void {
    if (this.#over.signal.aborted) return;
    const pid = this.#pid;
    this.#settle(null);
    this.#pipe.cut();
    this.#over.abort();
    // As far as the guest lets us: the agent itself cannot end what it began.
    if (pid !== null) void this.#start('kill', ['-KILL', String(pid)]).catch(() => undefined);
  }

  async #run(input: Buffer): Promise<void> {
    const [program = '', ...args] = this.open.command;
    const pid = await this.#start(program, args, input);
    this.#pid = pid;
    // Closed while it was started.
    if (this.#over.signal.aborted) return void (await this.#start('kill', ['-KILL', String(pid)]));
    for (
      let pause = FIRST_LOOK_MS;
      !this.#over.signal.aborted;
      pause = Math.min(pause * 2, SLOWEST_LOOK_MS)
    ) {
      const seen = await this.#look(pid);
      if (seen !== null && seen.code !== null) {
        this.#pid = null;
        await this.#pipe.push({ channel: 'output', bytes: seen.output });
        await this.#pipe.push({ channel: 'errorOutput', bytes: seen.errorOutput });
        if (seen.truncated) return this.#fail('the guest agent kept only a part of what it printed');
        return this.#end({ reason: 'exited', code: seen.code });
      }
      await wait(pause, undefined, { signal: this.#over.signal }).catch(() => undefined);
    }
  }

  #start(path: string, args: readonly string[], input: Buffer = Buffer.alloc(0)): Promise<number> {
    const { env } = this.open;
    const pairs = env === undefined ? null : Object.entries({ PATH, ...env }).map(([k, v]) => `${k}=${v}`);
    return this.agent.exec({ path, args, env: pairs, input });
  }

  /** Null while the agent does not answer. @throws when it will never tell how the program ended */
  async #look(pid: number): Promise<Awaited<ReturnType<QgaAgent['execStatus']>> | null> {
    try {
      return await this.agent.execStatus(pid);
    } catch (error) {
      const passes = error instanceof QgaTransportError && error.fault !== 'protocol';
      if (passes) return null;
      this.#pid = null;
      if (error instanceof QgaError) throw new Error(`the guest agent: ${error.message}`);
      throw error;
    }
  }

  #fail(message: string): void {
    this.#end({ reason: 'failed', message });
  }

  #end(how: TerminalEnd): void {
    this.#settle(how);
    this.#pipe.end();
    this.#over.abort();
  }
}
