import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { CommandError, run, type CgroupMode } from '@berth/linux';
import { signalNumber } from '@berth/runtime';
import type { LaunchStatus } from './launcher.js';

/** One OCI runtime program with its state directory (runtime-spec, "Runtime command line": runc's is the usual one). */
export class OciCommand {
  constructor(
    /** Absolute path of the program. */
    readonly program: string,
    /** Directory of its state; root-only. */
    readonly root: string,
  ) {}

  async start(id: string): Promise<void> {
    await this.run('start', id);
  }
  async pause(id: string): Promise<void> {
    await this.run('pause', id);
  }
  async resume(id: string): Promise<void> {
    await this.run('resume', id);
  }

  /** A container that ended meanwhile, or never was, needs no signal. By number: runc knows no names of real-time signals. */
  async kill(id: string, signal: string): Promise<void> {
    await this.run('kill', id, String(signalNumber(signal))).catch(
      unless(/not running|does not exist|already finished|no such process/i),
    );
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
