import { type MountEntry } from './mountinfo.js';
import { mounts } from './mounts.js';

/** `hybrid`: v1 controllers beside a v2 tree that holds none of them (systemd's transitional layout). */
export type CgroupMode = 'v1' | 'v2' | 'hybrid';

/** Which cgroups this host has, by its mounts. @throws Error where there are none. */
export function detectCgroups(table: readonly MountEntry[] = mounts()): CgroupMode {
  const v1 = table.some((m) => m.type === 'cgroup' && m.superOptions.some((o) => V1_CONTROLLERS.has(o)));
  const v2 = table.some((m) => m.type === 'cgroup2');
  if (v1) return v2 ? 'hybrid' : 'v1';
  if (v2) return 'v2';
  throw new Error('no cgroup file system is mounted');
}

const V1_CONTROLLERS = new Set(['cpu', 'cpuacct', 'memory', 'pids', 'freezer', 'cpuset', 'devices', 'blkio']);

/** Limits of one group; what is left out is not changed, null means no limit. */
export interface CgroupLimits {
  /** Cap in thousandths of a processor. */
  readonly cpuMillis?: number | null;
  /** Share under contention, 1 to 10,000 (v2 scale, 100 is usual). */
  readonly cpuWeight?: number;
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
