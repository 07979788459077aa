import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { mountinfoParse, type MountEntry } from './mountinfo.js';

/** `hybrid`: v1 controllers beside a v2 tree (systemd's transitional layout). */
export type CgroupMode = 'v1' | 'v2' | 'hybrid';

const V1_CONTROLLERS = new Set(['cpu', 'cpuacct', 'memory', 'pids', 'freezer', 'cpuset', 'devices', 'blkio']);

/** The trees a group must stand in, and the tree that answers for each controller. */
export interface CgroupHierarchies {
  readonly controllers: ReadonlyMap<string, { readonly path: string; readonly version: 1 | 2 }>;
  /** Mount points of every tree that is used, each once. */
  readonly paths: readonly string[];
  /** Mount points of all trees: others (an OCI runtime) make their groups in each of them. */
  readonly mounted: readonly string[];
  /** Mount point of the v2 tree, or null. */
  readonly unified: string | null;
}

/** How long a look at the mounts of cgroups holds: those of a host hardly ever change. */
const SEEN_MS = 10_000;

let seen: { readonly at: number; readonly table: readonly MountEntry[]; trees?: CgroupHierarchies } | null =
  null;

/**
 * Every cgroup tree that is mounted here, v1 and v2, as it was at most ten seconds ago: the table is as long as there are containers, and
 * whoever looks at one of them asks for the trees.
 */
export const cgroupMounts = (): readonly MountEntry[] => seenLately().table;

function seenLately(): NonNullable<typeof seen> {
  const at = performance.now();
  if (seen !== null && at - seen.at < SEEN_MS) return seen;
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').match(/^.* - cgroup2? .*$/gm) ?? [];
  return (seen = { at, table: mountinfoParse(lines.join('\n')) });
}

/** Which cgroups this host has, by its mounts. @throws Error where there are none. */
export function detectCgroups(table: readonly MountEntry[] = cgroupMounts()): CgroupMode {
  const v1 = table.some((m) => m.type === 'cgroup' && m.superOptions.some((o) => V1_CONTROLLERS.has(o)));
  const v2 = table.some((m) => m.type === 'cgroup2');
  if (v1) return v2 ? 'hybrid' : 'v1';
  if (v2) return 'v2';
  throw new Error('no cgroup file system is mounted');
}

/** The trees of this host, see {@link cgroupMounts}; or those of a given table. */
export function hierarchies(table?: readonly MountEntry[]): CgroupHierarchies {
  if (table !== undefined) return hierarchiesOf(table);
  const lately = seenLately();
  return (lately.trees ??= hierarchiesOf(lately.table));
}

function hierarchiesOf(table: readonly MountEntry[]): CgroupHierarchies {
  const controllers = new Map<string, { path: string; version: 1 | 2 }>();
  for (const entry of table.filter((m) => m.type === 'cgroup')) {
    for (const option of entry.superOptions) {
      if (V1_CONTROLLERS.has(option)) controllers.set(option, { path: entry.target, version: 1 });
    }
  }
  const unified = table.find((m) => m.type === 'cgroup2')?.target ?? null;
  if (unified !== null) {
    for (const name of readFileSync(join(unified, 'cgroup.controllers'), 'utf8').trim().split(' ')) {
      if (!controllers.has(name)) controllers.set(name, { path: unified, version: 2 });
    }
    // Accounting of processor time is part of every v2 group, whatever controllers it has.
    if (!controllers.has('cpuacct')) controllers.set('cpuacct', { path: unified, version: 2 });
  }
  const used = ['cpu', 'cpuacct', 'memory', 'pids', 'freezer'].flatMap(
    (name) => controllers.get(name)?.path ?? [],
  );
  const paths = [...new Set([...used, ...(unified === null ? [] : [unified])])];
  const mounted = table.filter((m) => m.type === 'cgroup' || m.type === 'cgroup2').map((m) => m.target);
  return { controllers, paths, mounted: [...new Set(mounted)], unified };
}
