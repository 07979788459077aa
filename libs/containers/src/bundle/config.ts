import {
  capabilitiesOf,
  type ContainerSecurity,
  type Rlimit,
  type RlimitName,
  rlimitNames,
  type TmpfsMount,
} from '@berth/model';
import { mergeEnv, type ProcessPlan, RuntimeError } from '@berth/runtime';
import type { NamespacePaths } from '../isolation/namespaces.js';
import type { LentDevice } from '../isolation/devices.js';
import { type HostBounds, maskedPaths, readonlyPaths } from '../isolation/privileges.js';
import { RANGE_SIZE } from '../isolation/uid-ranges.js';
import type { LaunchInput } from '../launch/launcher.js';
import type { InitProcess } from './init-process.js';
import { type ContainerLimits, ociLimits } from './limits.js';
import { systemCgroup, systemTmpfs } from './system.js';
import type { OciConfig, OciDeviceRule, OciMount, OciResources, OciSeccomp, OciUser } from './oci-types.js';

export interface BundleRequest {
  readonly instanceId: string;
  readonly epoch: number;
  readonly hostname: string;
  readonly rootfs: string;
  readonly process: ProcessPlan;
  readonly init: InitProcess;
  readonly user: OciUser;
  /** First host id of the container's range. */
  readonly base: number;
  readonly namespaces: NamespacePaths;
  readonly cgroup: string;
  readonly limits: ContainerLimits;
  /** Files and directories of ours that are mounted over the image. */
  readonly filesOver: readonly OciMount[];
  readonly devices: readonly LentDevice[];
  readonly seccomp: OciSeccomp;
  readonly bounds: HostBounds;
  readonly security: ContainerSecurity;
  /** Its init is that of a machine: see system.ts. */
  readonly system: boolean;
  readonly input: LaunchInput;
}

/** Of programs with a terminal, where they are told of no other. */
export const terminalEnv = 'TERM=xterm-256color';

/** Tells how a run was launched to whoever attaches to it. */
export const inputAnnotation = 'berth.input';

const SHM = '/dev/shm';

/** Renders an OCI bundle's config.json (runtime-spec 1.0). Pure; nothing in it is built from text. */
export function bundleConfig(request: BundleRequest): OciConfig {
  const { security } = request;
  const capabilities = capabilitiesOf(security).map((name) => `CAP_${name}`);
  const idMap = [{ containerID: 0, hostID: request.base, size: RANGE_SIZE }];
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: request.input === 'terminal',
      user: request.user,
      args: [...request.init.before, ...request.process.args],
      env: mergeEnv(request.input === 'terminal' ? [terminalEnv] : [], request.process.env),
      cwd: request.process.cwd,
      capabilities: {
        bounding: capabilities,
        effective: capabilities,
        permitted: capabilities,
        // Inheritable ones would reach programs with file capabilities in a user's hands (CVE-2022-24769).
        inheritable: [],
        ambient: [],
      },
      rlimits: rlimits(security, request.bounds),
      // Who signs in to a system gains rights by sudo and the like: those of the container's root at most.
      noNewPrivileges: !request.system,
      oomScoreAdj: request.bounds.oomScoreAdj,
    },
    root: { path: request.rootfs, readonly: security.readOnlyRoot === true },
    hostname: request.hostname,
    mounts: [
      ...kernelMounts(security, request.system ? systemTmpfs(request.limits.memoryMiB) : null),
      ...request.devices.map((device) => device.mount),
      ...request.init.mounts,
      ...request.filesOver,
    ],
    annotations: {
      'berth.instance': request.instanceId,
      'berth.epoch': String(request.epoch),
      [inputAnnotation]: request.input,
    },
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
      resources: resources(
        request.limits,
        request.devices.map(({ rule }) => rule),
      ),
      sysctl: {
        // Pings without NET_RAW, for every group of the container; all its ports are its own.
        'net.ipv4.ping_group_range': `0 ${RANGE_SIZE - 1}`,
        'net.ipv4.ip_unprivileged_port_start': '0',
        ...security.sysctls,
      },
      seccomp: request.seccomp,
      maskedPaths: maskedPaths(security),
      readonlyPaths: readonlyPaths(security).filter(
        (path) => !request.system || path !== systemCgroup.destination,
      ),
      // Mounts that are to follow those of the host must find theirs when they are made. Nothing else of its tree is the host's.
      rootfsPropagation: request.filesOver.some(({ options }) => options.includes('rslave'))
        ? 'rslave'
        : 'rprivate',
    },
  };
}

/** What its cgroups hold a container to. Pure. */
export function resources(limits: ContainerLimits, lent: readonly OciDeviceRule[] = []): OciResources {
  return {
    // The runtime adds null, zero, full, random, urandom, tty and ptys.
    devices: [{ allow: false, access: 'rwm' }, ...lent],
    ...ociLimits(limits),
  };
}

/** @throws RuntimeError unsupported for one that this host cannot give */
function rlimits({ rlimits = {} }: ContainerSecurity, bounds: HostBounds): OciConfig['process']['rlimits'] {
  const defaults = {
    nofile: { hard: bounds.files, soft: Math.min(1024, bounds.files) },
    core: { hard: 0, soft: 0 },
  };
  const wanted: Partial<Record<RlimitName, Rlimit | undefined>> = { ...defaults, ...rlimits };
  return rlimitNames.flatMap((name) => {
    const limit = wanted[name];
    if (limit === undefined) return [];
    const most = bounds.rlimits[name];
    if (most !== undefined && limit.hard > most)
      throw new RuntimeError(
        'unsupported',
        `security.rlimits.${name}.hard is ${limit.hard}; this host can give ${most}`,
        {
          remedy: `ask for at most ${most}, or start its agent with a higher limit or with CAP_SYS_RESOURCE`,
        },
      );
    return [{ type: `RLIMIT_${name.toUpperCase()}`, ...limit }];
  });
}

/** Where kernel file systems are mounted in every container. */
export const kernelMountPoints = (): string[] => kernelMounts({}, null).map(({ destination }) => destination);

/** Where the kernel's file systems are, and those in memory that were asked for: the later lies over the earlier. */
function kernelMounts({ tmpfs = [] }: ContainerSecurity, system: readonly OciMount[] | null): OciMount[] {
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
  const inMemory = ({ path, mode, sizeMiB }: TmpfsMount): OciMount =>
    mount(path, 'tmpfs', 'tmpfs', [...guarded, `mode=${mode}`, `size=${sizeMiB}m`]);
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
    ...(tmpfs.some(({ path }) => path === SHM) ? [] : [{ path: SHM, mode: '1777', sizeMiB: 64 }]).map(
      inMemory,
    ),
    mount('/dev/mqueue', 'mqueue', 'mqueue', guarded),
    mount('/sys', 'sysfs', 'sysfs', [...guarded, 'ro']),
    system === null
      ? mount('/sys/fs/cgroup', 'cgroup', 'cgroup', [...guarded, 'relatime', 'ro'])
      : systemCgroup,
    ...(system ?? []).filter(({ destination }) => !tmpfs.some(({ path }) => path === destination)),
    // Those above others first, or they would hide them.
    ...tmpfs.toSorted((a, b) => a.path.length - b.path.length).map(inMemory),
  ];
}
