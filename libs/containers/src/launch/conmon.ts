import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { faultPoint } from '@berth/faults';
import {
  cgroupAdd,
  cgroupCreate,
  cgroupKill,
  hasCode,
  processIdentity,
  type ProcessIdentity,
} from '@berth/linux';
import {
  type AttachPlaces,
  LaunchError,
  type LaunchExit,
  type LaunchRequest,
  type Launched,
  type Launcher,
} from './launcher.js';
import type { OciCommand } from './oci-command.js';

export interface ConmonOptions {
  readonly conmon: string;
  readonly command: OciCommand;
  /** Root-only directory for attach sockets, exit files and pid files. */
  readonly directory: string;
  readonly logMaxBytes: number;
}

const SYNC_FD = 3;
const START_FD = 4;

/**
 * Launches by an OCI runtime under conmon 2.1: one small process per container that holds its output pipes, writes its
 * log and records its exit status in a file, in a session and cgroup of its own.
 *
 * The start of a container: we spawn conmon, which waits on the start pipe; we put it into its cgroup and let it go;
 * it forks away from us, runs `<runtime> create`, and sends `{"data": <pid>}` on the sync pipe, or a negative number
 * with a message (conmon's parent_pipe_fd protocol, --api-version 1). The program starts at our `<runtime> start`.
 */
export class ConmonLauncher implements Launcher {
  readonly exitDirectory: string;

  constructor(private readonly options: ConmonOptions) {
    this.exitDirectory = join(options.directory, 'exits');
    for (const path of [options.directory, this.exitDirectory, this.sockets, options.command.root])
      mkdirSync(path, { recursive: true, mode: 0o700 });
  }

  async create(request: LaunchRequest): Promise<Launched> {
    request.signal.throwIfAborted();
    rmSync(join(this.exitDirectory, request.id), { force: true });
    rmSync(join(request.bundle, 'oom'), { force: true });
    await cgroupCreate(request.monitorCgroup);
    const child = this.spawn(request);
    const words = collect(child.stderr);
    const answer = collect(child.stdio[SYNC_FD] as Readable);
    const ended = once(child, 'close');
    if (child.pid === undefined) throw new LaunchError('conmon cannot be executed');
    try {
      await faultPoint('oci.monitor.spawned', request.id.split('.')[0] ?? '');
      await cgroupAdd(request.monitorCgroup, child.pid);
      (child.stdio[START_FD] as Writable).end('\0');
      const init = parseAnswer(await untilAnswer(answer, ended, request.signal), words.text());
      const monitor = processIdentity(Number(readFileSync(this.pidFile(request.id), 'utf8')));
      if (monitor === null) throw new LaunchError('conmon ended at once');
      return { init, monitor };
    } catch (error) {
      child.kill('SIGKILL');
      await this.abandon(request);
      throw error;
    }
  }

  async start(id: string, init: ProcessIdentity): Promise<void> {
    try {
      await this.options.command.start(id, init);
    } catch (error) {
      throw new LaunchError(error instanceof Error ? error.message : String(error), { cause: error });
    }
  }

  get directories(): readonly string[] {
    const { directory, command } = this.options;
    return [directory, this.exitDirectory, this.sockets, join(directory, 'persist'), command.root];
  }

  status(id: string): ReturnType<Launcher['status']> {
    return this.options.command.state(id);
  }
  list(): ReturnType<Launcher['list']> {
    return this.options.command.list();
  }
  pause(id: string): Promise<void> {
    return this.options.command.pause(id);
  }
  resume(id: string): Promise<void> {
    return this.options.command.resume(id);
  }

  exec(id: string, files: { readonly process: string; readonly pid: string }): readonly string[] {
    return this.options.command.exec(id, files);
  }

  attachTo(bundle: string): AttachPlaces {
    return { input: join(bundle, 'attach'), control: join(bundle, 'ctl') };
  }

  exit(id: string): LaunchExit | null {
    try {
      const status = Number(readFileSync(join(this.exitDirectory, id), 'utf8').trim());
      return { status, oomKilled: existsSync(join(this.persistent(id), 'oom')) };
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return null;
      throw error;
    }
  }

  async delete(id: string): Promise<void> {
    await this.options.command.delete(id);
    for (const path of [join(this.exitDirectory, id), this.pidFile(id), this.persistent(id)])
      rmSync(path, { recursive: true, force: true });
    rmSync(join(this.sockets, id), { force: true }); // a link to the bundle, in which the attach socket is
  }

  private spawn(request: LaunchRequest): ChildProcess {
    const { conmon, command, logMaxBytes } = this.options;
    mkdirSync(this.persistent(request.id), { recursive: true, mode: 0o700 });
    const args = [
      ['--api-version', '1'],
      ['--cid', request.id],
      ['--cuuid', request.id],
      ['--name', request.id],
      ['--runtime', command.program],
      ['--runtime-arg=--root', `--runtime-arg=${command.root}`],
      ['--bundle', request.bundle],
      ['--persist-dir', this.persistent(request.id)],
      ['--socket-dir-path', this.sockets],
      ['--container-pidfile', join(this.persistent(request.id), 'init.pid')],
      ['--conmon-pidfile', this.pidFile(request.id)],
      ['--exit-dir', this.exitDirectory],
      ['--log-path', `k8s-file:${request.logPath}`],
      ['--log-size-max', String(logMaxBytes)],
      ['--log-level', 'warning'],
      // Who leaves does not end the input of whoever comes next.
      request.input === 'none' ? [] : ['--stdin', '--leave-stdin-open'],
      request.input === 'terminal' ? ['--terminal'] : [],
    ].flat();
    return spawn(conmon, args, {
      // Where memory runs out, conmon leaves a file `oom` in the directory it was started in as well.
      cwd: this.persistent(request.id),
      detached: true, // a session of its own: no signal to our process group reaches it
      env: {
        PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        _OCI_SYNCPIPE: String(SYNC_FD),
        _OCI_STARTPIPE: String(START_FD),
      },
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
    });
  }

  /** After a failed create: conmon itself must go too, or it would hold the log and the group. */
  private async abandon({ id, monitorCgroup }: LaunchRequest): Promise<void> {
    await this.delete(id).catch(() => undefined); // the first fault is the one to report
    await cgroupKill(monitorCgroup);
  }

  private get sockets(): string {
    return join(this.options.directory, 'attach');
  }
  private pidFile(id: string): string {
    return join(this.options.directory, `${id}.pid`);
  }
  private persistent(id: string): string {
    return join(this.options.directory, 'persist', id);
  }
}

interface Collected {
  text(): string;
  readonly firstLine: Promise<string>;
}

/** conmon's output is a line or two; more than 64 KiB is not kept. */
function collect(stream: Readable | null): Collected {
  let text = '';
  let resolveLine: (line: string) => void = () => undefined;
  const firstLine = new Promise<string>((resolve) => (resolveLine = resolve));
  stream?.on('data', (chunk: Buffer) => {
    if (text.length < 65_536) text += chunk.toString('utf8');
    const end = text.indexOf('\n');
    if (end >= 0) resolveLine(text.slice(0, end));
  });
  stream?.on('end', () => resolveLine(text));
  stream?.on('error', () => resolveLine(text));
  return { text: () => text, firstLine };
}

async function untilAnswer(answer: Collected, ended: Promise<unknown>, signal: AbortSignal): Promise<string> {
  const aborted = new Promise<never>((_, reject) =>
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }),
  );
  void ended.catch(() => undefined);
  return Promise.race([answer.firstLine, aborted]);
}

function parseAnswer(line: string, stderr: string): ProcessIdentity {
  let parsed: { data?: unknown; message?: unknown };
  try {
    parsed = JSON.parse(line) as typeof parsed;
  } catch (error) {
    throw new LaunchError(runtimeWords(stderr) || `conmon said ${JSON.stringify(line)}`, { cause: error });
  }
  const identity = typeof parsed.data === 'number' ? processIdentity(parsed.data) : null;
  if (identity !== null) return identity;
  throw new LaunchError(runtimeWords(typeof parsed.message === 'string' ? parsed.message : stderr) || line);
}

/** What the OCI runtime said, without the frame of its log lines (`time="…" level=error msg="…"`). */
export function runtimeWords(text: string): string {
  const words = text
    .split('\n')
    .map((line) => /\bmsg=("(?:[^"\\]|\\.)*")/.exec(line)?.[1])
    .flatMap((quoted) => (quoted === undefined ? [] : [unquoted(quoted)]));
  return words.length > 0 ? words.join('; ') : text.trim();
}

function unquoted(text: string): string {
  try {
    return String(JSON.parse(text));
  } catch {
    return text.slice(1, -1);
  }
}
