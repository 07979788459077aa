import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { State, Things } from './machine.js';

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly state: string;
  /** Tells it from a later one with the same pid. */
  readonly started: string;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

const link = (path: string): string | null => {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
};

/** Every process of this pid namespace, by pid (proc_pid_stat(5)). */
function all(): Map<number, Process> {
  const found = new Map<number, Process>();
  for (const name of readdirSync('/proc').filter((n) => /^\d+$/.test(n))) {
    const stat = read(`/proc/${name}/stat`);
    const [state = '', parent = '', ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const pid = Number(name);
    if (stat !== '') found.set(pid, { pid, state, parent: Number(parent), started: rest[17] ?? '' });
  }
  return found;
}

/** Ancestors of a process, itself first. */
function line(processes: ReadonlyMap<number, Process>, pid: number): number[] {
  const found: number[] = [];
  for (let at = processes.get(pid); at !== undefined; at = processes.get(at.parent)) found.push(at.pid);
  return found;
}

/**
 * Processes that this one can have started: those below it, and those that init took over. What stands below vitest
 * without standing below us is vitest's own (the worker before us on its way out, a compiler).
 *
 * @param adopted whether those of init are ours too, as on a test machine
 */
export function processState(adopted: boolean): State {
  const processes = all();
  const us = line(processes, process.pid);
  const vitest = us[1] ?? 0;
  const ours = [...processes.values()].filter((p) => {
    if (us.includes(p.pid)) return false;
    const above = line(processes, p.pid);
    return above.includes(process.pid) || (adopted && !above.includes(vitest));
  });
  return {
    processes: new Map(ours.map((p) => [`${p.pid} ${p.started}`, described(p)])),
    namespaces: namespaces(ours),
    'open descriptors': descriptors(),
  };
}

function described({ pid, parent, state }: Process): string {
  const command =
    read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim() || read(`/proc/${pid}/comm`).trim();
  const whose =
    parent === process.pid
      ? 'child of this worker'
      : parent === 1
        ? 'taken over by init'
        : `child of ${parent}`;
  return `${pid}${state === 'Z' ? ' (a zombie)' : ''} ${command.slice(0, 300)} (${whose})`;
}

/** Namespaces in which those processes are; what is pinned is among the mounts, what is held open among descriptors. */
function namespaces(processes: readonly Process[]): Things {
  const found = new Map<string, string>();
  for (const { pid } of processes)
    for (const kind of ['net', 'mnt', 'pid', 'ipc', 'uts', 'user', 'cgroup', 'time']) {
      const name = link(`/proc/${pid}/ns/${kind}`);
      if (name !== null && name !== link(`/proc/self/ns/${kind}`) && !found.has(name))
        found.set(name, `${name}, in which ${pid} is`);
    }
  return found;
}

/** Descriptors of this process by number and target, so that one which was replaced is seen too. */
function descriptors(): Things {
  const found = new Map<string, string>();
  for (const name of readdirSync('/proc/self/fd')) {
    const target = link(`/proc/self/fd/${name}`);
    // The directory that is being read is gone by now.
    if (target !== null) found.set(`${name} ${target}`, `${name} -> ${target}`);
  }
  return found;
}
