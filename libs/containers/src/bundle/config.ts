import type { ProcessPlan } from '@berth/runtime';
import type { NamespacePaths } from '../isolation/namespaces.js';
import {
  CONTAINER_CAPABILITIES,
  type HostBounds,
  MASKED_PATHS,
  READONLY_PATHS,
} from '../isolation/privileges.js';
import { RANGE_SIZE } from '../isolation/uid-ranges.js';
import type { OciConfig, OciMount, OciResources, OciSeccomp, OciUser } from './oci-types.js';

export interface BundleRequest {
  readonly instanceId: string;
  readonly epoch: number;
  readonly hostname: string;
  readonly rootfs: string;
  readonly process: ProcessPlan;
  readonly user: OciUser;
  /** First host id of the container's range. */
  readonly base: number;
  readonly namespaces: NamespacePaths;
  readonly cgroup: string;
  readonly limits: ContainerLimits;
  readonly identityMounts: readonly OciMount[];
  readonly seccomp: OciSeccomp;
  readonly bounds: HostBounds;
}

export interface ContainerLimits {
  readonly memoryMiB: number;
  /** Cap in thousandths of a processor; null for none. */
  readonly cpuMillis: number | null;
  readonly pids: number;
  /** The host can bound memory and swap together. */
  readonly swapAccounting: boolean;
}

const CPU_PERIOD_MICROS = 100_000;
/** Share of a container without a cap: what the scheduler books for it. */
const UNCAPPED_MILLIS = 100;

/** Renders an OCI bundle's config.json (runtime-spec 1.0). Pure; nothing in it is built from text. */
export function bundleConfig(request: BundleRequest): OciConfig {
  const idMap = [{ containerID: 0, hostID: request.base, size: RANGE_SIZE }];
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: request.user,
      args: request.process.args,
      env: request.process.env,
      cwd: request.process.cwd,
      capabilities: {
        bounding: CONTAINER_CAPABILITIES,
        effective: CONTAINER_CAPABILITIES,
        permitted: CONTAINER_CAPABILITIES,
        // Inheritable ones would reach programs with file capabilities in a user's hands (CVE-2022-24769).
        inheritable: [],
        ambient: [],
      },
      rlimits: [
        { type: 'RLIMIT_NOFILE', hard: request.bounds.files, soft: Math.min(1024, request.bounds.files) },
        { type: 'RLIMIT_CORE', hard: 0, soft: 0 },
      ],
      noNewPrivileges: true,
      oomScoreAdj: request.bounds.oomScoreAdj,
    },
    root: { path: request.rootfs, readonly: false },
    hostname: request.hostname,
    mounts: [...kernelMounts(), ...request.identityMounts],
    annotations: { 'berth.instance': request.instanceId, 'berth.epoch': String(request.epoch) },
    linux: {
      namespaces: [
        { type: 'pid' },
        { type: 'ipc' },
        { type: 'uts' },
        { type: 'mount' },
        { type: 'cgroup' },
        { type: 'user', path: request.namespaces.user },
        { type: 'network', path: request.namespaces.network },
      ],
      uidMappings: idMap,
      gidMappings: idMap,
      cgroupsPath: `/${request.cgroup}`,
      resources: resources(request.limits),
      sysctl: {
        // Pings without NET_RAW, for every group of the container; all its ports are its own.
        'net.ipv4.ping_group_range': `0 ${RANGE_SIZE - 1}`,
        'net.ipv4.ip_unprivileged_port_start': '0',
      },
      seccomp: request.seccomp,
      maskedPaths: MASKED_PATHS,
      readonlyPaths: READONLY_PATHS,
      rootfsPropagation: 'rprivate',
    },
  };
}

/** Share under contention of a container with this cap, as v1 counts it. */
export function sharesOf(cpuMillis: number | null): number {
  return Math.min(262_144, Math.max(2, Math.round(((cpuMillis ?? UNCAPPED_MILLIS) * 1024) / 1000)));
}

/** cgroup limits in OCI's words, which the OCI runtime writes to cgroup v1 or v2. Pure. */
export function resources(limits: ContainerLimits): OciResources {
  const bytes = limits.memoryMiB * 1024 * 1024;
  return {
    devices: [{ allow: false, access: 'rwm' }], // the runtime adds null, zero, full, random, urandom, tty and ptys
    memory: { limit: bytes, ...(limits.swapAccounting ? { swap: bytes } : {}) },
    cpu: {
      shares: sharesOf(limits.cpuMillis),
      ...(limits.cpuMillis === null
        ? {}
        : {
            quota: Math.max(1000, (limits.cpuMillis * CPU_PERIOD_MICROS) / 1000),
            period: CPU_PERIOD_MICROS,
          }),
    },
    pids: { limit: limits.pids },
  };
}

function kernelMounts(): OciMount[] {
  const mount = (
    destination: string,
    type: string,
    source: string,
    options: readonly string[],
  ): OciMount => ({
    destination,
    type,
    source,
    options,
  });
  const guarded = ['nosuid', 'noexec', 'nodev'];
  return [
    mount('/proc', 'proc', 'proc', guarded),
    mount('/dev', 'tmpfs', 'tmpfs', ['nosuid', 'strictatime', 'mode=755', 'size=65536k']),
    mount('/dev/pts', 'devpts', 'devpts', [
      'nosuid',
      'noexec',
      'newinstance',
      'ptmxmode=0666',
      'mode=0620',
      'gid=5',
    ]),
    mount('/dev/shm', 'tmpfs', 'shm', [...guarded, 'mode=1777', 'size=65536k']),
    mount('/dev/mqueue', 'mqueue', 'mqueue', guarded),
    mount('/sys', 'sysfs', 'sysfs', [...guarded, 'ro']),
    mount('/sys/fs/cgroup', 'cgroup', 'cgroup', [...guarded, 'relatime', 'ro']),
  ];
}
