import { readFileSync } from 'node:fs';

/** Docker's usual set without NET_RAW, AUDIT_WRITE and MKNOD. They count only inside the container's user namespace. */
export const CONTAINER_CAPABILITIES: readonly string[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_NET_BIND_SERVICE',
  'CAP_SETFCAP',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_CHROOT',
];

/** Paths of the kernel that tell about the host or act on it: covered by an empty file or directory. */
export const MASKED_PATHS: readonly string[] = [
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
export const READONLY_PATHS: readonly string[] = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
  '/sys/fs/cgroup', // on cgroup v1 a tmpfs as large as half of the host's memory lies under its trees
];

const WANTED_FILES = 1_048_576;
/** A guest goes before the host's daemons when memory of the whole host runs out. */
const OOM_SCORE = 200;

export interface HostBounds {
  /** Open files a container may have: without CAP_SYS_RESOURCE no limit above our own can be set. */
  readonly files: number;
  readonly oomScoreAdj: number;
}

/** What this process may hand out. */
export function hostBounds(): HostBounds {
  const line = readFileSync('/proc/self/limits', 'utf8')
    .split('\n')
    .find((l) => l.startsWith('Max open files'));
  const hard = Number(line?.trim().split(/\s+/)[4] ?? 1024);
  const own = Number(readFileSync('/proc/self/oom_score_adj', 'utf8'));
  return {
    files: Math.min(WANTED_FILES, Number.isFinite(hard) ? hard : WANTED_FILES),
    oomScoreAdj: Math.max(own, OOM_SCORE),
  };
}
