import { chownSync, existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cgroupMounts, hasCode } from '@berth/linux';
import type { MemoryEnd } from '@berth/model';

interface CgroupTree {
  readonly path: string;
  readonly version: 1 | 2;
  readonly options: readonly string[];
}

/** Mount points of every cgroup tree of the host, v1 and v2: an OCI runtime makes its group in all of them. */
export function trees(): CgroupTree[] {
  return cgroupMounts().map((m) => ({
    path: m.target,
    version: m.type === 'cgroup' ? 1 : 2,
    options: m.superOptions,
  }));
}

/** Whether the group's processes are frozen. A group that is not there is not. */
export function cgroupFrozen(group: string, all: readonly CgroupTree[] = trees()): boolean {
  const v1 = all.find((t) => t.version === 1 && t.options.includes('freezer'));
  if (v1 !== undefined) return read(join(v1.path, group, 'freezer.state')) !== 'THAWED';
  const v2 = all.find((t) => t.version === 2);
  return v2 !== undefined && read(join(v2.path, group, 'cgroup.freeze')) === '1';
}

/** Whether the kernel killed a process of the group for want of memory: one look, for who looks often. */
export function cgroupOomKilled(group: string, all: readonly CgroupTree[] = trees()): boolean {
  const v1 = all.find((t) => t.version === 1 && t.options.includes('memory'));
  const path = v1?.path ?? all.find((t) => t.version === 2)?.path;
  if (path === undefined) return false;
  return /^oom_kill [1-9]/m.test(
    read(join(path, group, v1 === undefined ? 'memory.events' : 'memory.oom_control')),
  );
}

/** What the kernel counted of a group's memory; null for one that is not there. @throws Error for a file that makes no sense */
export function cgroupMemory(group: string, all: readonly CgroupTree[] = trees()): MemoryEnd | null {
  const tree =
    all.find((t) => t.version === 1 && t.options.includes('memory')) ?? all.find((t) => t.version === 2);
  if (tree === undefined) return null;
  const file = (v1: string, v2: string): string | null => {
    try {
      return readFileSync(join(tree.path, group, tree.version === 1 ? v1 : v2), 'utf8');
    } catch (error) {
      if (hasCode(error, 'ENOENT', 'ENODEV')) return null; // of v2, memory.peak is not there before Linux 5.19
      throw error;
    }
  };
  const events = file('memory.oom_control', 'memory.events');
  const limit = file('memory.limit_in_bytes', 'memory.max');
  if (events === null || limit === null) return null;
  const peak = file('memory.max_usage_in_bytes', 'memory.peak');
  // v1 writes no limit as the highest multiple of a page.
  const limitBytes = Number(limit) <= 2 ** 62 ? Number(limit) : null;
  const oomKills = Number(/^oom_kill (\d+)$/m.exec(events)?.[1] ?? 0);
  return { limitBytes, peakBytes: peak === null ? null : Number(peak), oomKills };
}

/** Whether this host has a cgroup v2 tree, with whatever controllers. */
export const cgroup2There = (): boolean => trees().some(({ version }) => version === 2);

/** Of one container's own tree: more than any init makes, and few enough to be looked through. */
const GROUPS_MOST = 2048;
const GROUPS_DEEPEST = 32;

/**
 * Makes the group in the v2 tree and gives it to the container's root, so that an init can part its services there (cgroups(7), "Delegation"):
 * it may make groups below and move processes between them, and never change the limits of its own, whose files stay root's.
 */
export function cgroupDelegate(group: string, base: number): void {
  for (const { path, version } of trees()) {
    if (version !== 2) continue;
    const directory = join(path, group);
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'cgroup.max.descendants'), String(GROUPS_MOST));
    writeFileSync(join(directory, 'cgroup.max.depth'), String(GROUPS_DEEPEST));
    for (const name of ['.', 'cgroup.procs', 'cgroup.threads', 'cgroup.subtree_control'])
      chownSync(join(directory, name), base, base);
  }
}

/** Whether memory and swap can be bounded together, so that a guest cannot use the host's swap. */
export function swapAccounting(): boolean {
  const v1 = trees().find((t) => t.version === 1 && t.options.includes('memory'));
  if (v1 !== undefined) return existsSync(join(v1.path, 'memory.memsw.limit_in_bytes'));
  return existsSync('/proc/swaps');
}

/** Removes a group from every tree, where it is empty and not in use; otherwise it stays. */
export function cgroupRemoveEmpty(group: string): void {
  for (const { path } of trees()) {
    try {
      rmdirSync(join(path, group));
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'EBUSY', 'ENOTEMPTY')) throw error;
    }
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENODEV')) return 'THAWED';
    throw error;
  }
}
