import { readFileSync } from 'node:fs';
import { isCapable } from '@berth/linux';
import type { ContainerSecurity, RlimitName } from '@berth/model';

/** Paths of the kernel that tell about the host or act on it: covered by an empty file or directory. */
const MASKED_PATHS: readonly string[] = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];
const READONLY_PATHS: readonly string[] = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
  '/sys/fs/cgroup', // on cgroup v1 a tmpfs as large as half of the host's memory lies under its trees
];

/**
 * The kernel lets nobody mount a procfs that shows more than the one he sees: where containers hold their own, nothing may lie over ours.
 * Left then are the kernel's own checks: what is not of the container's namespaces is its host's root's.
 */
const under = (paths: readonly string[], { nesting }: ContainerSecurity): readonly string[] =>
  nesting === true ? paths.filter((path) => !path.startsWith('/proc/')) : paths;
export const maskedPaths = (security: ContainerSecurity): readonly string[] => under(MASKED_PATHS, security);
export const readonlyPaths = (security: ContainerSecurity): readonly string[] =>
  under(READONLY_PATHS, security);

const WANTED_FILES = 1_048_576;
/** A guest goes before the host's daemons when memory of the whole host runs out. */
const OOM_SCORE = 200;

export interface HostBounds {
  /** Open files a container may have unless told otherwise. */
  readonly files: number;
  /** Without CAP_SYS_RESOURCE no hard limit above our own can be set: those, by name; none where we have it, or have no limit. */
  readonly rlimits: Readonly<Partial<Record<RlimitName, number>>>;
  readonly oomScoreAdj: number;
}

/** Lines of proc_pid_limits(5). */
const LIMIT_LINES: Readonly<Record<RlimitName, string>> = {
  core: 'Max core file size',
  cpu: 'Max cpu time',
  data: 'Max data size',
  fsize: 'Max file size',
  memlock: 'Max locked memory',
  msgqueue: 'Max msgqueue size',
  nofile: 'Max open files',
  nproc: 'Max processes',
  sigpending: 'Max pending signals',
  stack: 'Max stack size',
};

/** What this process may hand out. */
export function hostBounds(): HostBounds {
  const own = limitsIn(readFileSync('/proc/self/limits', 'utf8'));
  const score = Number(readFileSync('/proc/self/oom_score_adj', 'utf8'));
  return {
    files: Math.min(WANTED_FILES, own.nofile ?? WANTED_FILES),
    rlimits: isCapable('sys_resource') ? {} : own,
    oomScoreAdj: Math.max(score, OOM_SCORE),
  };
}

/** Hard limits in proc_pid_limits(5); what is unlimited is left out. Pure. */
export function limitsIn(text: string): Partial<Record<RlimitName, number>> {
  const lines = text.split('\n');
  const found = Object.entries(LIMIT_LINES).map(([name, begins]) => {
    const line = lines.find((l) => l.startsWith(begins))?.slice(begins.length);
    return [name, Number(line?.trim().split(/\s+/)[1] ?? Number.NaN)] as const;
  });
  return Object.fromEntries(found.filter(([, hard]) => Number.isFinite(hard)));
}
