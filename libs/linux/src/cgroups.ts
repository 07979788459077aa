import { mkdir, readFile, rmdir, writeFile, readdir } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { detectCgroups, type CgroupHierarchies, hierarchies } from './cgroup-mounts.js';
import { type IoGroup, ioGroup } from './cgroup-io.js';
import { memoryBring, memoryGroup } from './cgroup-memory.js';
import { hasCode } from './errno.js';

/** Limits of one group; what is left out is not changed, null means no limit. */
export interface CgroupLimits {
  /** Cap in thousandths of a processor. */
  readonly cpuMillis?: number | null;
  /** Share under contention, 2 to 262,144 (v1 scale, 1024 is usual). */
  readonly cpuShares?: number;
  readonly memoryBytes?: number | null;
  readonly pids?: number | null;
}

export interface CgroupUsage {
  readonly cpuMicros: number;
  readonly memoryBytes: number;
  readonly pids: number;
  /** Processes that the kernel killed here because the memory limit was reached. */
  readonly oomKills: number;
}

const PERIOD_MICROS = 100_000;

/**
 * Makes a group, given by its path below the root of every hierarchy (`berth/x`), with limits. On v1 and hybrid it
 * stands in each controller's own tree. Repeating it sets the limits again.
 */
export async function cgroupCreate(group: string, limits: CgroupLimits = {}): Promise<void> {
  const trees = hierarchies();
  if (detectCgroups() === 'v2') await delegate(trees, group);
  for (const directory of directories(trees, group)) await mkdir(directory, { recursive: true });
  await cgroupLimit(group, limits);
}

/** Sets limits of a group that exists. @throws Node's ENOENT; EBUSY when v1 memory in use is above the new limit. */
export async function cgroupLimit(group: string, limits: CgroupLimits): Promise<void> {
  const trees = hierarchies();
  const set = (controller: string, v1: string, v2: string, value: readonly [v1: string, v2: string]) => {
    const tree = treeOf(trees, controller);
    return writeFile(
      join(tree.path, checked(group), tree.version === 1 ? v1 : v2),
      value[tree.version - 1] ?? '',
    );
  };
  if (limits.cpuMillis !== undefined) {
    const quota =
      limits.cpuMillis === null
        ? null
        : Math.max(1000, Math.round((limits.cpuMillis * PERIOD_MICROS) / 1000));
    if (treeOf(trees, 'cpu').version === 1)
      await set('cpu', 'cpu.cfs_period_us', '', [`${PERIOD_MICROS}`, '']);
    await set('cpu', 'cpu.cfs_quota_us', 'cpu.max', [`${quota ?? -1}`, `${quota ?? 'max'} ${PERIOD_MICROS}`]);
  }
  if (limits.cpuShares !== undefined) {
    // As OCI runtimes turn them into v2's weight, 1 to 10,000.
    const weight = 1 + Math.floor(((limits.cpuShares - 2) * 9999) / 262_142);
    await set('cpu', 'cpu.shares', 'cpu.weight', [`${limits.cpuShares}`, `${weight}`]);
  }
  if (limits.memoryBytes !== undefined) {
    const bytes = limits.memoryBytes;
    await set('memory', 'memory.limit_in_bytes', 'memory.max', [`${bytes ?? -1}`, `${bytes ?? 'max'}`]);
  }
  if (limits.pids !== undefined) {
    await set('pids', 'pids.max', 'pids.max', [`${limits.pids ?? 'max'}`, `${limits.pids ?? 'max'}`]);
  }
}

/** Bounds the memory of a group in which processes run, as `memoryBring`. @throws Node's ENOENT when there is no such group. */
export function cgroupMemoryBring(group: string, bytes: number, swapBytes: number | null): Promise<boolean> {
  const { version, path } = treeOf(hierarchies(), 'memory');
  return memoryBring(memoryGroup(version, join(path, checked(group))), bytes, swapBytes);
}

/** Above so many bytes memory is taken back from the group; null: not before its limit. @throws Error on v1, which has no such bound */
export async function cgroupMemoryHigh(group: string, bytes: number | null): Promise<void> {
  const { version, path } = treeOf(hierarchies(), 'memory');
  if (version === 2) return writeFile(join(path, checked(group), 'memory.high'), `${bytes ?? 'max'}`);
  if (bytes !== null)
    throw Object.assign(new Error('cgroup v1 knows no memory.high'), { code: 'EOPNOTSUPP' });
}

/** Which version a host's controller is of; null where it has none. */
export const cgroupVersion = (controller: string): 1 | 2 | null =>
  hierarchies().controllers.get(controller)?.version ?? null;

/** What bounds the disks of a group; null on a host without the controller. */
export function cgroupIoGroup(group: string): IoGroup | null {
  const all = hierarchies().controllers;
  const tree = all.get('blkio') ?? all.get('io');
  return tree === undefined ? null : ioGroup(tree.version, join(tree.path, checked(group)));
}

/**
 * Binds a group to processors, in Linux' list format (cpuset(7)); null: to all that its parent has. A group on a host without the controller
 * has all of them. @throws Node's ENOENT when there is no such group; EINVAL, ERANGE or EACCES for processors that it cannot have
 */
export async function cgroupBind(group: string, cpus: string | null): Promise<void> {
  const tree = hierarchies().controllers.get('cpuset');
  if (tree === undefined && cpus === null) return;
  const { path, version } = tree ?? treeOf(hierarchies(), 'cpuset');
  const file = join(path, checked(group), 'cpuset.cpus');
  const ofParent = (name: string): Promise<string> => readFile(join(path, dirname(group), name), 'utf8');
  // v1 always wants to be told.
  if (cpus !== null || version === 1) return writeFile(file, cpus ?? (await ofParent('cpuset.cpus')));
  // v2 has the parent's where nothing is said, and an empty line says nothing.
  return writeFile(file, '\n').catch(async (error: unknown) => {
    if (hasCode(error, 'ENOENT')) return; // without the controller, and bound by nothing
    // Processes run in it: then the kernel takes no empty line of what was bound once.
    if (!hasCode(error, 'ENOSPC')) throw error;
    await writeFile(file, await ofParent('cpuset.cpus.effective'));
  });
}

/** Processors that groups can be bound to, in Linux' list format; null on a host without the controller. */
export async function cgroupProcessors(): Promise<string | null> {
  const tree = hierarchies().controllers.get('cpuset');
  if (tree === undefined) return null;
  const file = tree.version === 1 ? 'cpuset.effective_cpus' : 'cpuset.cpus.effective';
  const text = (await readFile(join(tree.path, file), 'utf8')).trim();
  return text === '' ? null : text;
}

/** Moves a process into the group, in every hierarchy. */
export async function cgroupAdd(group: string, pid: number): Promise<void> {
  for (const directory of directories(hierarchies(), group))
    await writeFile(join(directory, 'cgroup.procs'), `${pid}`);
}

/** What the group used and uses: files in memory, for which a pool thread would cost more than the look. @throws Node's ENOENT when there is no such group. */
export function cgroupUsage(group: string): CgroupUsage {
  const trees = hierarchies();
  const read = (controller: string, v1: string, v2: string) => {
    const tree = treeOf(trees, controller);
    return readFileSync(join(tree.path, checked(group), tree.version === 1 ? v1 : v2), 'utf8');
  };
  const cpu = read('cpuacct', 'cpuacct.usage', 'cpu.stat');
  const oom = read('memory', 'memory.oom_control', 'memory.events');
  return {
    cpuMicros:
      treeOf(trees, 'cpuacct').version === 1 ? Math.floor(Number(cpu) / 1000) : keyed(cpu, 'usage_usec'),
    memoryBytes: Number(read('memory', 'memory.usage_in_bytes', 'memory.current')),
    pids: Number(read('pids', 'pids.current', 'pids.current')),
    oomKills: keyed(oom, 'oom_kill'),
  };
}

/**
 * Bytes the group read from and wrote to block devices, or null where the host does not account for them. v1 does not see
 * writes that go through the page cache (blkio-controller.txt).
 */
export function cgroupBlockBytes(group: string): { read: number; write: number } | null {
  const tree = hierarchies().controllers.get('blkio') ?? hierarchies().controllers.get('io');
  if (tree === undefined) return null;
  const file = tree.version === 1 ? 'blkio.throttle.io_service_bytes' : 'io.stat';
  let text: string;
  try {
    text = readFileSync(join(tree.path, checked(group), file), 'utf8');
  } catch (error) {
    text = ignoreGone(error);
  }
  // v1: `8:0 Read 4096`; v2: `8:0 rbytes=4096 wbytes=0 …`
  const sum = (pattern: RegExp): number =>
    [...text.matchAll(pattern)].reduce((total, [, bytes]) => total + Number(bytes), 0);
  return tree.version === 1
    ? { read: sum(/ Read (\d+)/g), write: sum(/ Write (\d+)/g) }
    : { read: sum(/ rbytes=(\d+)/g), write: sum(/ wbytes=(\d+)/g) };
}

/** The limits as the kernel holds them: null where there is none. */
export async function cgroupLimits(
  group: string,
): Promise<{ cpuMillis: number | null; memoryBytes: number | null; pids: number | null }> {
  const trees = hierarchies();
  const read = async (controller: string, v1: string, v2: string) => {
    const tree = treeOf(trees, controller);
    return (await readFile(join(tree.path, checked(group), tree.version === 1 ? v1 : v2), 'utf8')).trim();
  };
  const cpu = await read('cpu', 'cpu.cfs_quota_us', 'cpu.max');
  const period =
    treeOf(trees, 'cpu').version === 1 ? await read('cpu', 'cpu.cfs_period_us', '') : cpu.split(' ')[1];
  const quota = bounded(cpu.split(' ')[0] ?? 'max');
  return {
    cpuMillis: quota === null ? null : Math.round((quota * 1000) / Number(period)),
    memoryBytes: bounded(await read('memory', 'memory.limit_in_bytes', 'memory.max')),
    pids: bounded(await read('pids', 'pids.max', 'pids.max')),
  };
}

/** Processes in the group and in groups below it, in any hierarchy. None when there is no such group. */
export async function cgroupProcs(group: string): Promise<number[]> {
  const pids = new Set<number>();
  for (const root of everywhere(group)) {
    for (const directory of await descendants(root)) {
      const text = await readFile(join(directory, 'cgroup.procs'), 'utf8').catch(ignoreGone);
      for (const line of text.split('\n')) if (line !== '') pids.add(Number(line));
    }
  }
  pids.delete(0); // a process of another pid namespace
  return [...pids];
}

/** Names of the groups right below one (`null`: the root), in any hierarchy. None when there is no such group. */
export async function cgroupChildren(parent: string | null): Promise<string[]> {
  const names = new Set<string>();
  for (const root of parent === null ? hierarchies().mounted : everywhere(parent)) {
    const entries = await readdir(root, { withFileTypes: true }).catch((error: unknown) => {
      if (hasCode(error, 'ENOENT')) return [];
      throw error;
    });
    for (const entry of entries) if (entry.isDirectory()) names.add(entry.name);
  }
  return [...names];
}

/**
 * Kills every process of the group and waits until it is empty. v2 does so in one write; v1 has no such thing, so the
 * processes are killed until none is left, also against one that forks. @throws Error when some remain at the deadline.
 */
export async function cgroupKill(group: string, options: { timeoutMs?: number } = {}): Promise<void> {
  const end = performance.now() + (options.timeoutMs ?? 10_000);
  const unified = hierarchies().unified;
  if (unified !== null) await writeFile(join(unified, checked(group), 'cgroup.kill'), '1').catch(ignoreGone);
  for (let pause = 1; ; pause = Math.min(50, pause * 2)) {
    const pids = await cgroupProcs(group);
    if (pids.length === 0) return;
    for (const pid of pids) kill(pid);
    if (performance.now() > end)
      throw new Error(`processes of cgroup ${group} survive SIGKILL: ${pids.join(' ')}`);
    await wait(pause);
  }
}

/** Removes an empty group with those below it, in every hierarchy. Removing what never was is no error. @throws EBUSY. */
export async function cgroupRemove(group: string): Promise<void> {
  for (const root of everywhere(group)) {
    for (const directory of (await descendants(root)).reverse()) await removeGroup(directory);
  }
}

/** The kernel may hold a group busy for some milliseconds after its last process. */
async function removeGroup(directory: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await rmdir(directory);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return;
      if (!hasCode(error, 'EBUSY') || attempt === 50) throw error;
      await wait(10);
    }
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!hasCode(error, 'ESRCH')) throw error;
  }
}

/** Without these no group can be bounded. */
const NEEDED = ['cpu', 'memory', 'pids'];
/** A host need not have these. */
const WHERE_THERE = ['cpuset', 'io'];

/**
 * On v2 a parent hands its controllers down by cgroup.subtree_control, from the root to the group's parent: all that bound anything, for a
 * bound may be asked for while the group is there, and none can be written that was not handed down.
 */
async function delegate(trees: CgroupHierarchies, group: string): Promise<void> {
  let directory = treeOf(trees, 'memory').path;
  const wanted = [...NEEDED, ...WHERE_THERE.filter((name) => trees.controllers.has(name))];
  const handedDown = wanted.map((name) => `+${name}`).join(' ');
  for (const part of checked(group).split('/')) {
    await writeFile(join(directory, 'cgroup.subtree_control'), handedDown);
    directory = join(directory, part);
    await mkdir(directory, { recursive: true });
  }
}

async function descendants(root: string): Promise<string[]> {
  const entries = await readdir(root, { withFileTypes: true }).catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return null;
    throw error;
  });
  if (entries === null) return [];
  const below = entries.filter((e) => e.isDirectory()).map((e) => descendants(join(root, e.name)));
  return [root, ...(await Promise.all(below)).flat()];
}

function directories(trees: CgroupHierarchies, group: string): string[] {
  return trees.paths.map((path) => join(path, checked(group)));
}

/** The group in every tree, also in those where we make none ourselves. */
function everywhere(group: string): string[] {
  return hierarchies().mounted.map((path) => join(path, checked(group)));
}

function treeOf(trees: CgroupHierarchies, controller: string): { path: string; version: 1 | 2 } {
  const tree = trees.controllers.get(controller);
  if (tree === undefined) throw new Error(`this host has no cgroup controller ${controller}`);
  return tree;
}

function checked(group: string): string {
  if (
    !/^[A-Za-z0-9_.:@-]+(\/[A-Za-z0-9_.:@-]+)*$/.test(group) ||
    normalize(group) !== group ||
    /^\.\.?$/.test(group)
  ) {
    throw new RangeError(`not a cgroup path: ${JSON.stringify(group)}`);
  }
  if (group.startsWith('../')) throw new RangeError(`not a cgroup path: ${JSON.stringify(group)}`);
  return group;
}

function keyed(text: string, key: string): number {
  const line = text.split('\n').find((l) => l.startsWith(`${key} `));
  return line === undefined ? 0 : Number(line.slice(key.length + 1));
}

/** `max`, -1 and v1 memory's page-rounded 2^63 all mean no limit. */
function bounded(value: string): number | null {
  const number = Number(value);
  return value === 'max' || number < 0 || number > 2 ** 62 ? null : number;
}

function ignoreGone(error: unknown): string {
  if (hasCode(error, 'ENOENT', 'ENODEV', 'ENOTSUP')) return '';
  throw error;
}
