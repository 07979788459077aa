import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, writeSync } from 'node:fs';
import { c, check } from './libc.js';

export interface RunOptions {
  /** What the standard input holds: a file in memory, since some programs open /dev/stdin, which a socket refuses. */
  readonly input?: string | Uint8Array;
  /** After this many milliseconds the command, and what it started, gets SIGKILL. Default 30,000. */
  readonly timeoutMs?: number;
  /** Bytes kept of each output stream; more is a fault and ends the command. Default 8 MiB. */
  readonly maxOutputBytes?: number;
  readonly signal?: AbortSignal;
  /** The whole environment. Default: that of this process with `LC_ALL=C`. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that could not be started, ended with a status other than 0, or was ended by us (`reason`). */
export class CommandError extends Error {
  constructor(
    readonly command: string,
    readonly args: readonly string[],
    readonly reason: 'spawn' | 'exit' | 'signal' | 'timeout' | 'aborted' | 'tooMuchOutput',
    readonly exitCode: number | null,
    readonly stdout: string,
    readonly stderr: string,
    cause?: unknown,
  ) {
    const words = stderr.trim().slice(-2000);
    const how = reason === 'exit' ? `status ${exitCode}` : reason;
    super(
      `${command}: ${how}${words === '' ? '' : `: ${words}`}`,
      cause === undefined ? undefined : { cause },
    );
    this.name = 'CommandError';
  }
}

/** Bytes of one stream up to a limit. */
class Capture {
  private readonly chunks: Buffer[] = [];
  private size = 0;
  constructor(private readonly limit: number) {}

  /** False when the chunk went over the limit. */
  add(chunk: Buffer): boolean {
    this.size += chunk.length;
    if (this.size > this.limit) return false;
    this.chunks.push(chunk);
    return true;
  }
  text(): string {
    return Buffer.concat(this.chunks).toString('utf8');
  }
}

/**
 * Runs a program to its end; never through a shell. @throws CommandError with the standard error output when it
 * cannot start, fails, is aborted, takes too long or says too much.
 */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const { promise, resolve, reject } = deferred<RunResult>();
  const out = new Capture(options.maxOutputBytes ?? 8 * 1024 * 1024);
  const err = new Capture(options.maxOutputBytes ?? 8 * 1024 * 1024);
  let ended: 'timeout' | 'aborted' | 'tooMuchOutput' | null = null;
  const fail = (reason: CommandError['reason'], code: number | null, cause?: unknown) =>
    reject(new CommandError(command, args, reason, code, out.text(), err.text(), cause));
  if (options.signal?.aborted === true) {
    fail('aborted', null, options.signal.reason);
    return promise;
  }
  const input = options.input === undefined ? null : memoryFile(options.input);
  const child = spawn(command, [...args], {
    stdio: [input ?? 'ignore', 'pipe', 'pipe'],
    env: options.env ?? { ...process.env, LC_ALL: 'C' },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    // A process group of its own, so that ending it ends what it started.
    detached: true,
  });
  if (input !== null) closeSync(input);
  const end = (reason: NonNullable<typeof ended>) => {
    ended ??= reason;
    killGroup(child);
    // A grandchild that left the group may hold the pipes open: after the kill nothing more is read.
    child.stdout?.destroy();
    child.stderr?.destroy();
  };
  const timer = setTimeout(() => end('timeout'), options.timeoutMs ?? 30_000);
  const onAbort = () => end('aborted');
  options.signal?.addEventListener('abort', onAbort, { once: true });
  child.stdout?.on('data', (chunk: Buffer) => out.add(chunk) || end('tooMuchOutput'));
  child.stderr?.on('data', (chunk: Buffer) => err.add(chunk) || end('tooMuchOutput'));
  const settle = () => {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', onAbort);
  };
  child.on('error', (cause) => (settle(), fail('spawn', null, cause)));
  child.on('close', (code) => {
    settle();
    if (ended !== null) fail(ended, code);
    else if (code === 0) resolve({ stdout: out.text(), stderr: err.text() });
    else fail(code === null ? 'signal' : 'exit', code);
  });
  return promise;
}

/** Only while the command itself has not been reaped: its pid, and with it the group's, may be another's after that. */
function killGroup(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  process.kill(-child.pid, 'SIGKILL');
}

/** A file without a name, closed on exec, read from its start. Whoever spawns closes it. */
function memoryFile(content: string | Uint8Array): number {
  const fd = check(c.memfdCreate('input', 1), 'memfd_create', 'input');
  const bytes = Buffer.from(content);
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, at);
  return fd;
}

function deferred<T>() {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((yes, no) => ((resolve = yes), (reject = no)));
  return { promise, resolve, reject };
}
