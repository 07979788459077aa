import { z } from 'zod';
import { inKernelDirectory } from './container-paths.js';

/*
 * What a container is given, and what is taken from it, beyond the defaults. All of it is within the container's own user
 * namespace: root in it is nobody on its host, and a capability counts for what belongs to that namespace.
 */

/** What a container's root may do unless told otherwise: Docker's set without NET_RAW, AUDIT_WRITE and MKNOD. */
export const defaultCapabilities = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'NET_BIND_SERVICE',
  'SETFCAP',
  'SETGID',
  'SETPCAP',
  'SETUID',
  'SYS_CHROOT',
] as const;

/** What may be added: each reaches only what is the container's own. */
export const addableCapabilities = [
  'DAC_READ_SEARCH',
  'IPC_OWNER',
  'NET_ADMIN',
  'NET_RAW',
  'SYS_PTRACE',
] as const;

const HOST_ROOT = 'the kernel gives what it stands for to the root of the host alone';
/** Why the others cannot be added. */
const refusedCapabilities = {
  AUDIT_CONTROL: HOST_ROOT,
  AUDIT_READ: HOST_ROOT,
  AUDIT_WRITE: HOST_ROOT,
  BLOCK_SUSPEND: HOST_ROOT,
  BPF: 'it loads programs into the kernel, which is the host’s',
  CHECKPOINT_RESTORE: HOST_ROOT,
  IPC_LOCK: HOST_ROOT,
  LEASE: HOST_ROOT,
  LINUX_IMMUTABLE: 'it makes files that the host cannot delete',
  MAC_ADMIN: HOST_ROOT,
  MAC_OVERRIDE: HOST_ROOT,
  MKNOD: 'the kernel lets nobody make devices in a user namespace',
  NET_BROADCAST: HOST_ROOT,
  PERFMON: 'it watches the kernel, which is the host’s',
  SYSLOG: 'it reads the log of the kernel, which is the host’s',
  SYS_ADMIN:
    'it opens mounts and new namespaces, and with them the parts of the kernel from which isolation is broken',
  SYS_BOOT: 'it boots the machine, which is the host',
  SYS_MODULE: 'it loads modules into the kernel, which is the host’s',
  SYS_NICE: HOST_ROOT,
  SYS_PACCT: HOST_ROOT,
  SYS_RAWIO: 'it reaches the memory and the disks of the host',
  SYS_RESOURCE: HOST_ROOT,
  SYS_TIME: 'it sets the clock, which is the host’s',
  SYS_TTY_CONFIG: HOST_ROOT,
  WAKE_ALARM: HOST_ROOT,
} as const;

/** Linux's capabilities (capabilities(7)), without `CAP_`. */
export const ContainerCapability = z.enum([
  ...defaultCapabilities,
  ...addableCapabilities,
  ...(Object.keys(refusedCapabilities) as (keyof typeof refusedCapabilities)[]),
]);
export type ContainerCapability = z.infer<typeof ContainerCapability>;

/**
 * Parameters of the kernel that a container has for itself: those of its network and of its IPC namespace. What is not here is
 * the host's, or reaches memory that no limit counts.
 */
export const sysctlNames = [
  'fs.mqueue.msg_default',
  'fs.mqueue.msg_max',
  'fs.mqueue.msgsize_default',
  'fs.mqueue.msgsize_max',
  'fs.mqueue.queues_max',
  'kernel.msgmax',
  'kernel.msgmnb',
  'kernel.msgmni',
  'kernel.sem',
  'kernel.shm_rmid_forced',
  'kernel.shmall',
  'kernel.shmmax',
  'kernel.shmmni',
  'net.core.somaxconn',
  'net.ipv4.conf.all.arp_ignore',
  'net.ipv4.conf.all.forwarding',
  'net.ipv4.conf.all.rp_filter',
  'net.ipv4.conf.all.src_valid_mark',
  'net.ipv4.conf.default.rp_filter',
  'net.ipv4.ip_default_ttl',
  'net.ipv4.ip_forward',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.tcp_ecn',
  'net.ipv4.tcp_fastopen',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_max_syn_backlog',
  'net.ipv4.tcp_mtu_probing',
  'net.ipv4.tcp_notsent_lowat',
  'net.ipv4.tcp_retries2',
  'net.ipv4.tcp_slow_start_after_idle',
  'net.ipv4.tcp_syn_retries',
  'net.ipv4.tcp_synack_retries',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.tcp_tw_reuse',
  'net.ipv6.bindv6only',
  'net.ipv6.conf.all.disable_ipv6',
  'net.ipv6.conf.all.forwarding',
  'net.ipv6.conf.default.disable_ipv6',
  'net.unix.max_dgram_qlen',
] as const;
export const SysctlName = z.enum(sysctlNames);
export type SysctlName = z.infer<typeof SysctlName>;

/** Bounds of each process (getrlimit(2)). */
export const rlimitNames = [
  'core',
  'cpu',
  'data',
  'fsize',
  'memlock',
  'msgqueue',
  'nofile',
  'nproc',
  'sigpending',
  'stack',
] as const;
export type RlimitName = (typeof rlimitNames)[number];

const bound = z
  .int()
  .min(0)
  .max(2 ** 50);
/** `soft` counts; a process may raise it up to `hard`. In the unit of getrlimit(2): bytes, seconds, or a number. */
export const Rlimit = z.strictObject({ soft: bound, hard: bound });
export type Rlimit = z.infer<typeof Rlimit>;

/** An empty file system in memory, which counts for `memoryMiB`, and is gone with the run. */
export const TmpfsMount = z.strictObject({
  /** Where it is mounted; `/dev/shm` stands there already, with 64 MiB. */
  path: z
    .string()
    .max(1024)
    .regex(/^(\/[A-Za-z0-9_.@+-]+)+$/, 'an absolute path of letters, digits and "_.@+-"'),
  /** Most that it holds, MiB. */
  sizeMiB: z
    .int()
    .min(1)
    .max(1024 * 1024),
  /** Of the directory, octal. */
  mode: z
    .string()
    .regex(/^[0-7]{3,4}$/, 'three or four octal digits')
    .default('1777'),
});
export type TmpfsMount = z.infer<typeof TmpfsMount>;

export const ContainerSecurity = z
  .strictObject({
    capabilities: z
      .strictObject({
        add: z.array(ContainerCapability).max(64).default([]),
        /** `ALL` leaves those of `add`. */
        drop: z
          .array(z.enum(['ALL', ...ContainerCapability.options]))
          .max(64)
          .default([]),
      })
      .optional(),
    /** `strict` refuses, beyond the default, what servers do without: other processes' memory, chroot, 32-bit programs and the like. */
    seccomp: z.enum(['default', 'strict']).optional(),
    /**
     * It may make user namespaces of its own, and in them what their root may: mounts, and containers of its own. The kernel's code for those is
     * open to it then, and `/proc` is not masked, or none could be mounted in them.
     */
    nesting: z.boolean().optional(),
    /** Nothing can be written but to volumes and `tmpfs`. */
    readOnlyRoot: z.boolean().optional(),
    tmpfs: z.array(TmpfsMount).max(16).optional(),
    rlimits: z
      .strictObject(
        Object.fromEntries(rlimitNames.map((name) => [name, Rlimit.optional()])) as Record<
          RlimitName,
          z.ZodOptional<typeof Rlimit>
        >,
      )
      .optional(),
    /** By name, as sysctl(8) writes them. */
    sysctls: z
      .partialRecord(
        SysctlName,
        z
          .string()
          .max(256)
          .regex(/^[0-9]+([ ,-][0-9]+)*$/, 'numbers, parted by spaces, commas or "-"'),
      )
      .optional(),
  })
  .meta({ id: 'ContainerSecurity', sentAs: 'ContainerSecurityInput' });
export type ContainerSecurity = z.infer<typeof ContainerSecurity>;

/** Facet of hosts whose containers take `security`. */
export const securityFacet = 'security';

/** Facet of hosts whose containers may nest. */
export const nestingFacet = 'nesting';

/** What the root of a container with these may do, sorted. */
export function capabilitiesOf({ capabilities }: ContainerSecurity = {}): ContainerCapability[] {
  const { add = [], drop = [] } = capabilities ?? {};
  const kept = drop.includes('ALL') ? [] : defaultCapabilities.filter((one) => !drop.includes(one));
  return [...new Set<ContainerCapability>([...kept, ...add])].sort();
}

interface Secured {
  readonly isolation: string;
  readonly security?: ContainerSecurity | undefined;
}
type Refuse = (path: readonly (string | number)[], message: string) => void;

/** Tells of everything in `security` that cannot be so. */
export function checkSecurity({ isolation, security }: Secured, refuse: Refuse): void {
  if (security === undefined) return;
  if (isolation !== 'container')
    return refuse(
      ['security'],
      'only for isolation container: a machine has a kernel of its own, which is set up inside it; leave it out',
    );
  checkCapabilities(security, refuse);
  if (security.nesting === true && security.seccomp === 'strict')
    refuse(['security', 'nesting'], 'makes what strict seccomp refuses: leave one of the two out');
  checkTmpfs(security, refuse);
  for (const [name, limit] of Object.entries(security.rlimits ?? {}))
    if (limit !== undefined && limit.soft > limit.hard)
      refuse(['security', 'rlimits', name, 'soft'], `must be at most hard, ${limit.hard}`);
}

function checkCapabilities({ capabilities }: ContainerSecurity, refuse: Refuse): void {
  const { add = [], drop = [] } = capabilities ?? {};
  add.forEach((name, i) => {
    const path = ['security', 'capabilities', 'add', i];
    const why = (refusedCapabilities as Partial<Record<string, string>>)[name];
    if (why !== undefined) refuse(path, `${name} is not given to containers: ${why}; leave it out`);
    else if (drop.includes(name)) refuse(path, `${name} is dropped as well: name it in one of the two`);
  });
}

function checkTmpfs({ tmpfs = [] }: ContainerSecurity, refuse: Refuse): void {
  tmpfs.forEach(({ path }, i) => {
    const at = ['security', 'tmpfs', i, 'path'];
    if (/\/\.\.?(\/|$)/.test(path)) refuse(at, 'must not hold "." or ".."');
    // Of the kernel's, only `/dev/shm` is a directory for anybody.
    if (inKernelDirectory(path) && path !== '/dev/shm')
      refuse(at, 'is a directory of the kernel: choose another, or /dev/shm');
    if (tmpfs.findIndex((one) => one.path === path) < i) refuse(at, 'is in the list already');
  });
}
