import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Instance } from '@berth/model';
import { until, type Berth } from '../e2e/berth.js';

const exec = promisify(execFile);

/*
 * Finds the processes of one Berth's second host, which has namespaces and cgroups of its own: whatever else runs on
 * this machine (another libvirt on the machine's own paths, another Berth) is neither counted nor killed.
 */

/** A process that cannot be mistaken for a later one of the same number. */
export interface Process {
  readonly pid: number;
  /** Clock ticks since boot at which it began. */
  readonly startTime: number;
}

/** What runs for one epoch of an instance. */
export interface Running extends Process {
  readonly kind: 'qemu' | 'init' | 'conmon';
  /** UUID of the domain, or `<instance id>.<epoch>` of the container. */
  readonly of: string;
}

interface Component {
  readonly name: string;
  readonly state: string;
  readonly pid: number | null;
  readonly restarts: number;
}

/** What is killed by name. libvirt's daemons and the agent are those of the second host. */
export type Victim = 'agent' | 'api' | 'postgres' | 'libvirtd' | 'virtlogd';

export class Victims {
  private constructor(
    private readonly berth: Berth,
    private readonly holder: number,
    private readonly group: string,
  ) {}

  static of(berth: Berth): Victims {
    const record = join(berth.root, 'run/berth/components/lab-2.json');
    const { identity } = JSON.parse(readFileSync(record, 'utf8')) as { identity: Process };
    const group = /\/(berth-lab-[^/\n]+)/.exec(text(identity.pid, 'cgroup'))?.[1];
    if (group === undefined) throw new Error('the second host has no cgroup of its own');
    return new Victims(berth, identity.pid, group);
  }

  /** Every QEMU, first process of a container and container monitor of the host. */
  running(): Running[] {
    return processes().flatMap((p): Running[] => {
      const cgroups = text(p.pid, 'cgroup');
      if (!cgroups.includes(this.group)) return [];
      const args = text(p.pid, 'cmdline').split('\0');
      const program = args[0]?.split('/').at(-1) ?? '';
      const after = (option: string): string => args[args.indexOf(option) + 1] ?? '';
      if (program.startsWith('qemu-system-') && args.includes('-uuid'))
        return [{ ...p, kind: 'qemu', of: after('-uuid') }];
      // conmon forks once for good; its parent is gone by the time the container runs.
      if (program === 'conmon') return [{ ...p, kind: 'conmon', of: after('--cid') }];
      const epoch = /\/([0-9a-f-]{36}\.\d+)$/m.exec(cgroups)?.[1];
      const inner = /^NSpid:.*\t(\d+)$/m.exec(text(p.pid, 'status'))?.[1];
      return epoch !== undefined && inner === '1' ? [{ ...p, kind: 'init', of: epoch }] : [];
    });
  }

  /** What runs of that kind for the instance, whatever the epoch. */
  of(instance: Instance, kind: Running['kind']): Running[] {
    const mine = (r: Running): boolean =>
      kind === 'qemu' ? r.of === instance.uuid : r.of.startsWith(`${instance.id}.`);
    return this.running().filter((r) => r.kind === kind && mine(r));
  }

  /** The one process that is the workload of the instance. */
  workload(instance: Instance): Running {
    const found = this.of(instance, instance.spec.isolation === 'vm' ? 'qemu' : 'init');
    if (found.length !== 1 || found[0] === undefined)
      throw new Error(`${instance.name} runs ${found.length} times: ${JSON.stringify(found)}`);
    return found[0];
  }

  async domains(...which: string[]): Promise<string[]> {
    const inside = ['--target', String(this.holder), '--net', '--mount', '--'];
    const { stdout } = await exec('nsenter', [...inside, 'virsh', 'list', '--uuid', ...which]);
    return stdout.split('\n').filter((l) => l !== '');
  }

  /** Links, nft tables, domains and cgroups of the host. */
  async host(): Promise<Record<string, readonly string[]>> {
    const inside = async (...args: string[]): Promise<string[]> => {
      const enter = ['--target', String(this.holder), '--net', '--mount', '--'];
      const { stdout } = await exec('nsenter', [...enter, ...args]);
      return stdout.split('\n').filter((l) => l !== '');
    };
    const links = await inside('ip', '-br', 'link');
    return {
      links: links.map((l) => l.split(/[\s@]/)[0] ?? '').sort(),
      nft: await inside('nft', 'list', 'tables'),
      domains: await inside('virsh', 'list', '--all', '--name'),
      // libvirt keeps its parent group once it has made it.
      cgroups: groupsBelow('/sys/fs/cgroup', this.group)
        .filter((path) => !path.endsWith('/machine'))
        .sort(),
    };
  }

  /** How often each was restarted. */
  async restarts(parts: readonly Victim[]): Promise<number[]> {
    return Promise.all(parts.map(async (p) => (await this.component(p)).restarts));
  }

  async components(): Promise<Component[]> {
    return new Promise((resolve, reject) => {
      const socketPath = join(this.berth.root, 'run/berth/supervisor.sock');
      const asked = request({ socketPath, path: '/status' }, (answer) => {
        let body = '';
        answer.on('data', (chunk) => (body += String(chunk)));
        answer.on('end', () => resolve((JSON.parse(body) as { components: Component[] }).components));
      });
      asked.on('error', reject);
      asked.end();
    });
  }

  private async component(victim: Victim): Promise<Component> {
    const name = victim === 'api' || victim === 'postgres' ? victim : `host-2/${victim}`;
    const found = (await this.components()).find((c) => c.name === name);
    if (found === undefined) throw new Error(`the supervisor runs no ${name}`);
    return found;
  }

  /** Kills it the hard way; false when there was nothing to kill. Its reaper, where it has one, is left alone. */
  async kill(victim: Victim): Promise<boolean> {
    const { pid } = await this.component(victim);
    if (pid === null) return false;
    const isDaemon = victim === 'libvirtd' || victim === 'virtlogd';
    const target = isDaemon ? childNamed(pid, victim) : pid;
    return target !== null && killed(target);
  }

  /** Kills it and waits until the supervisor has another one that serves. */
  async killAndWait(victim: Victim): Promise<void> {
    const before = await this.component(victim);
    if (!(await this.kill(victim))) throw new Error(`there was no ${victim} to kill`);
    await this.serves(victim, before.restarts);
  }

  /** Waits until it serves and was restarted more than that many times. */
  async serves(victim: Victim, moreThan: number): Promise<void> {
    let last: Component | undefined;
    await until(
      `${victim} serves again`,
      30_000,
      async () => {
        last = await this.component(victim);
        return last.restarts > moreThan && last.state === 'ready' ? true : undefined;
      },
      () => JSON.stringify(last),
    );
  }

  /** Runs the work while that part is dead: the supervisor, which would restart it, holds still meanwhile. */
  async without<T>(victim: Victim, work: () => Promise<T>): Promise<T> {
    const before = await this.component(victim);
    const supervisor = parentOf((await this.component('postgres')).pid ?? 0);
    if (before.pid === null || supervisor === null) throw new Error(`${victim} does not run`);
    process.kill(supervisor, 'SIGSTOP');
    let result: T;
    try {
      if (!killed(before.pid)) throw new Error(`there was no ${victim} to kill`);
      await until(`${victim} is gone`, 5000, () =>
        Promise.resolve(living(before.pid ?? 0) ? undefined : true),
      );
      result = await work();
    } finally {
      process.kill(supervisor, 'SIGCONT');
    }
    await this.serves(victim, before.restarts);
    return result;
  }

  /** Rows of a query against the store. */
  async rows<T>(sql: string): Promise<T[]> {
    const where = ['-h', join(this.berth.root, 'run/berth/postgres'), '-U', 'postgres', '-d', 'berth'];
    const query = `select coalesce(json_agg(r), '[]') from (${sql}) r`;
    const { stdout } = await exec('psql', ['-X', '-A', '-t', ...where, '-c', query]);
    return JSON.parse(stdout) as T[];
  }
}

function groupsBelow(root: string, group: string): string[] {
  const found: string[] = [];
  const walk = (dir: string, inside: boolean): void => {
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      if (!entry.isDirectory()) continue;
      const path = join(dir, entry.name);
      const within = inside || entry.name === group;
      if (within) found.push(path);
      if (within || dir === root) walk(path, within);
    }
  };
  walk(root, false);
  return found;
}

/** SIGKILL; false when it was gone already. */
export function killed(pid: number): boolean {
  try {
    process.kill(pid, 'SIGKILL');
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

function text(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return ''; // it is gone
  }
}

/** Fields of /proc/<pid>/stat after the name, which may hold blanks: state, parent, … (proc(5), from field 3). */
const stat = (pid: number): string[] => text(pid, 'stat').split(') ').at(-1)?.split(' ') ?? [];

function living(pid: number): boolean {
  return !['', 'Z', 'X'].includes(stat(pid)[0] ?? '');
}

function parentOf(pid: number): number | null {
  const parent = Number(stat(pid)[1]);
  return parent > 1 ? parent : null;
}

/** Every process that is no zombie. */
function processes(): Process[] {
  return readdirSync('/proc')
    .filter((n) => /^\d+$/.test(n))
    .map(Number)
    .filter(living)
    .map((pid) => ({ pid, startTime: Number(stat(pid)[19]) }));
}

function childNamed(parent: number, name: string): number | null {
  return (
    processes().find((p) => parentOf(p.pid) === parent && text(p.pid, 'comm').trim() === name)?.pid ?? null
  );
}
