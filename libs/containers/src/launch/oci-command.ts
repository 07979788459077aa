import { closeSync, constants, existsSync, openSync, readSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { CommandError, hasCode, isAlive, type ProcessIdentity, run, type CgroupMode } from '@berth/linux';
import type { LaunchStatus } from './launcher.js';

/** What waits to be let go needs a moment to write so. */
const LET_GO_MS = 10_000;

/** One OCI runtime program with its state directory (runtime-spec, "Runtime command line": runc's is the usual one). */
export class OciCommand {
  constructor(
    /** Absolute path of the program. */
    readonly program: string,
    /** Directory of its state; root-only. */
    readonly root: string,
  ) {}

  /**
   * runc holds a created container at a pipe in its directory, and its `start` reads that and takes it away, no more (libcontainer, "exec.fifo").
   * So do we, which saves a program that takes longer to begin than all the rest of a start. Where there is no such pipe, or
   * nothing comes of it, runc is asked itself, as any other runtime is.
   */
  async start(id: string, init: ProcessIdentity): Promise<void> {
    const held = join(this.root, id, 'exec.fifo');
    if (basename(this.program) === 'runc' && (await letGo(held, init))) return;
    await this.run('start', id);
  }
  async pause(id: string): Promise<void> {
    await this.run('pause', id);
  }
  async resume(id: string): Promise<void> {
    await this.run('resume', id);
  }

  /** Program and arguments that run a process of a file in a running container, and relay its streams. */
  exec(id: string, files: { readonly process: string; readonly pid: string }): string[] {
    return [
      this.program,
      '--root',
      this.root,
      'exec',
      '--process',
      files.process,
      '--pid-file',
      files.pid,
      id,
    ];
  }

  /** Costs no process where there is nothing: runc and crun keep a directory of the container's name while it is there. */
  async delete(id: string): Promise<void> {
    if (!existsSync(join(this.root, id))) return;
    await this.run('delete', '--force', id).catch(unless(/does not exist/i));
  }

  async state(id: string): Promise<{ status: LaunchStatus; pid: number | null } | null> {
    const text = await this.run('state', id).catch(unless(/does not exist/i));
    return text === '' ? null : stateOf(JSON.parse(text) as RawState);
  }

  async list(): Promise<{ id: string; status: LaunchStatus; pid: number | null }[]> {
    const text = await this.run('list', '--format', 'json');
    const all = JSON.parse(text === '' ? '[]' : text) as (RawState & { id: string })[] | null;
    return (all ?? []).map((one) => ({ id: one.id, ...stateOf(one) }));
  }

  private async run(...args: string[]): Promise<string> {
    return (await run(this.program, ['--root', this.root, ...args], { timeoutMs: 30_000 })).stdout.trim();
  }
}

/** Whether the process that waits at a pipe was let go: it opens the pipe, writes a byte and becomes the guest's program. */
async function letGo(pipe: string, waiting: ProcessIdentity): Promise<boolean> {
  let fd: number;
  try {
    // Without waiting for a writer that may be gone. While this is open a writer finds a reader.
    fd = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
  try {
    for (const end = performance.now() + LET_GO_MS; readByte(fd) === 0;) {
      // It is gone; or an agent was killed between the two halves of this, and it runs.
      if (!isAlive(waiting) || performance.now() > end) return false;
      await wait(1);
    }
  } finally {
    closeSync(fd);
  }
  rmSync(pipe, { force: true });
  return true;
}

/** Bytes read, at most one; 0 where nobody has written. */
function readByte(fd: number): number {
  try {
    return readSync(fd, Buffer.alloc(1));
  } catch (error) {
    if (hasCode(error, 'EAGAIN')) return 0;
    throw error;
  }
}

interface RawState {
  readonly status: string;
  readonly pid: number;
}

function stateOf(raw: RawState): { status: LaunchStatus; pid: number | null } {
  const known: readonly string[] = ['created', 'running', 'paused', 'stopped'];
  const status = known.includes(raw.status) ? (raw.status as LaunchStatus) : 'created';
  return { status, pid: raw.pid > 0 && status !== 'stopped' ? raw.pid : null };
}

function unless(expected: RegExp): (error: unknown) => string {
  return (error) => {
    if (error instanceof CommandError && expected.test(error.stderr)) return '';
    throw error;
  };
}

/** The programs to try on this kind of cgroups, best first: crun refuses hybrid ones. */
export function ociPrograms(mode: CgroupMode): readonly string[] {
  return mode === 'v2' ? ['crun', 'runc'] : ['runc'];
}
