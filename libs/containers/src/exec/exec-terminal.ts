import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, readFileSync, rmSync, write } from 'node:fs';
import type { Readable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { ReadStream } from 'node:tty';
import { promisify } from 'node:util';
import { hasCode, type ProcessKin, ptyOpen, ptyResize, signalProcess } from '@berth/linux';
import type { ExecOpen, ExitInfo, TerminalEnd, TerminalSize } from '@berth/model';
import { type Terminal, type TerminalOutput, TerminalPipe, writeWithRoom } from '@berth/runtime';
import { runtimeWords } from '../launch/conmon.js';
import { usualSize } from './exec-plan.js';
import { groupMembers, killAll } from './exec-processes.js';
import { InnerTerminal } from './inner-terminal.js';

/** Of what the OCI runtime says before the process runs, bytes. */
const WORDS_BYTES = 64 * 1024;
/** From SIGHUP to SIGKILL, ms. */
const GRACE_MS = 2000;
/** From one look at something that tells nobody when it changes to the next, ms. */
const LOOK_MS = 5;

export interface ExecRequest {
  /** Program and arguments that put the process into the container and carry its streams. */
  readonly command: readonly string[];
  /** Files of this exec, which go with it; the OCI runtime writes the pid once the process runs. */
  readonly files: { readonly process: string; readonly pid: string };
  /** The container's group, in which the process is. */
  readonly cgroup: string;
  readonly open: ExecOpen;
  /** How the container's run ended, or null while it goes on. */
  readonly workloadEnd: () => Promise<ExitInfo | null>;
}

/**
 * One process in a container, by the OCI runtime's `exec`, which is its parent and relays its streams. The relay ends
 * with us (PR_SET_PDEATHSIG). The process ends with the terminal, and its session with it: what it started and did not
 * put into a session of its own.
 *
 *   starting -> running (pid file) -> over (relay gone, all output read) ; closed at any time -> over
 */
export class ExecTerminal implements Terminal {
  readonly ended: Promise<TerminalEnd | null>;
  private readonly pipe = new TerminalPipe();
  private readonly child: ChildProcess;
  private readonly master: ReadStream | null;
  private readonly inner: InnerTerminal | null;
  /** The terminal to write to, until `run` is over. */
  private readonly input: number | null;
  private typing: Promise<void> = Promise.resolve();
  private readonly words: Buffer[] = [];
  private over = false;
  private closed = false;
  private begun = false;
  /** `leader`, once it was read: the file goes with the relay, and the session may outlive both. */
  private known: number | null = null;

  constructor(
    private readonly request: ExecRequest,
    signal: AbortSignal,
  ) {
    const { open } = request;
    const pty = open.tty ? ptyOpen(open.size ?? usualSize) : null;
    const end = pty?.slave ?? 'pipe';
    this.child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...request.command], {
      cwd: '/',
      detached: true, // no signal to our process group reaches it
      env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
      stdio: [end, end, 'pipe'],
    });
    if (pty !== null) closeSync(pty.slave);
    this.master = pty === null ? null : new ReadStream(pty.master);
    this.input = pty?.input ?? null;
    const view = { pid: () => this.relay, running: () => existsSync(request.files.pid) };
    this.inner = pty === null ? null : new InnerTerminal({ ...view, outer: pty.input });
    this.child.stdin?.on('error', () => undefined); // it reads no more
    this.ended = this.run().catch(
      (error: unknown) => ({ reason: 'failed', message: String(error) }) as const,
    );
    signal.addEventListener('abort', () => this.close(), { once: true });
    if (signal.aborted) this.close();
  }

  /** Pid of the process on the host that carries the streams, the parent of the one in the container; null once it is gone. */
  get relay(): number | null {
    const { pid, exitCode, signalCode } = this.child;
    return pid !== undefined && exitCode === null && signalCode === null ? pid : null;
  }

  get output(): AsyncIterable<TerminalOutput> {
    return this.pipe;
  }

  async write(bytes: Uint8Array): Promise<void> {
    const { input } = this;
    if (input !== null) return (this.typing = this.typing.then(() => this.type(input, bytes)));
    const { stdin } = this.child;
    if (stdin?.writable === true) await writeWithRoom(stdin, bytes);
  }

  endInput(): void {
    this.child.stdin?.end();
  }

  resize(size: TerminalSize): void {
    if (this.input === null || this.over) return;
    ptyResize(this.input, size);
    // The relay is in no session of this terminal, so the kernel tells it nothing.
    if (this.relay !== null) this.child.kill('SIGWINCH');
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.pipe.cut();
    this.child.stdin?.destroy();
    if (!this.over) void this.end().catch(() => this.child.kill('SIGKILL')); // the next agent sweeps what is left
  }

  /** The processes first, so that the relay sees their end. */
  private async end(): Promise<void> {
    for (const { identity } of await this.session()) signalProcess(identity, 'SIGHUP');
    for (const until = performance.now() + GRACE_MS; performance.now() < until; await wait(4 * LOOK_MS))
      if ((await this.session()).length === 0) break;
    await killAll(() => this.session());
    this.child.kill('SIGKILL');
    await killAll(() => this.session()); // what came to run in that instant
  }

  /** What the relay brought into the container, and all of its session. */
  private async session(): Promise<ProcessKin[]> {
    const { relay, leader } = this;
    const all = await groupMembers(this.request.cgroup);
    return all.filter(({ parent, session }) => parent === relay || session === leader);
  }

  /** Pid of the process, which leads its session; null before it runs. */
  private get leader(): number | null {
    try {
      return (this.known ??= Number(readFileSync(this.request.files.pid, 'utf8')));
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return null;
      throw error;
    }
  }

  private async run(): Promise<TerminalEnd | null> {
    const code = new Promise<number | Error>((resolve) => {
      this.child.once('error', resolve);
      this.child.once('exit', (status) => resolve(status ?? 137));
    });
    const output = this.master ?? this.child.stdout;
    try {
      const copied = output === null ? Promise.resolve() : this.copy(output);
      await Promise.all([copied, this.relayed(this.child.stderr as Readable), this.inner?.setRight()]);
      const status = await code;
      for (const bytes of this.inner?.rest() ?? []) await this.pipe.push({ channel: 'output', bytes });
      return await this.ending(status);
    } finally {
      this.over = true;
      this.inner?.close();
      this.master?.destroy();
      if (this.input !== null) await this.typing.then(() => closeSync(this.input as number));
      for (const file of Object.values(this.request.files)) rmSync(file, { force: true });
      this.pipe.end();
    }
  }

  private async ending(status: number | Error): Promise<TerminalEnd | null> {
    if (this.closed) return null;
    if (status instanceof Error) return { reason: 'failed', message: status.message };
    if (!this.hasBegun())
      return { reason: 'failed', message: runtimeWords(Buffer.concat(this.words).toString()) };
    const exit = status === 137 ? await this.request.workloadEnd() : null;
    return exit === null ? { reason: 'exited', code: status } : { reason: 'workloadEnded', exit };
  }

  /** Output at the pace of its reader. A terminal whose last process is gone ends with EIO. */
  private async copy(stream: Readable): Promise<void> {
    try {
      for await (const chunk of stream) {
        this.begun = true; // only the process itself writes here
        const bytes = chunk as Buffer;
        await this.pipe.push({ channel: 'output', bytes: this.inner?.shown(bytes) ?? bytes });
      }
    } catch (error) {
      if (!hasCode(error, 'EIO') && !this.closed) throw error;
    }
  }

  /** Standard error is the process's once it runs; until then it is the OCI runtime's, which says why it does not. */
  private async relayed(stream: Readable): Promise<void> {
    let held = 0;
    for await (const chunk of stream) {
      const bytes = chunk as Buffer;
      while (!this.hasBegun() && this.relay !== null) await wait(LOOK_MS);
      if (this.hasBegun()) await this.pipe.push({ channel: 'errorOutput', bytes });
      else if ((held += bytes.length) <= WORDS_BYTES) this.words.push(bytes);
    }
  }

  private hasBegun(): boolean {
    return (this.begun ||= existsSync(this.request.files.pid));
  }

  /** A full terminal is waited for: its descriptor does not block, and tells nobody when there is room. */
  private async type(input: number, bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length && !this.over;) {
      try {
        at += (await writeSome(input, bytes, at)).bytesWritten;
      } catch (error) {
        if (!hasCode(error, 'EAGAIN')) return; // nobody has the terminal any more
        await wait(LOOK_MS);
      }
    }
  }
}

const writeSome = promisify(write) as unknown as (
  fd: number,
  bytes: Uint8Array,
  at: number,
) => Promise<{ bytesWritten: number }>;
