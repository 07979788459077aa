import { mkdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { faultPoint } from '@berth/faults';
import {
  type ContainerSecurity,
  type ExecOpen,
  IDENTITY_PATHS,
  type ImageContent,
  type NetworkId,
  type VolumeId,
  type VolumeSeen,
} from '@berth/model';
import {
  Netlink,
  cgroupRemove,
  disksHolding,
  hasCode,
  memoryForget,
  namesIn,
  writeFileAtomic,
} from '@berth/linux';
import {
  mergeEnv,
  RuntimeError,
  type Stopwatch,
  timed,
  type WorkloadKey,
  type WorkloadSpec,
  KeyedLock,
} from '@berth/runtime';
import { bundleConfig, inputAnnotation } from './bundle/config.js';
import { boundsDisks, type ContainerLimits, limitsOf } from './bundle/limits.js';
import { guestFileRead } from './bundle/guest-file.js';
import { guestIdentityWrite } from './bundle/guest-identity.js';
import { guestRootCheck } from './bundle/guest-root.js';
import { initProcess, noInit } from './bundle/init-process.js';
import type { OciConfig, OciMount } from './bundle/oci-types.js';
import { planOf, systemTmpfs } from './bundle/system.js';
import { type AccountFiles, userResolve } from './bundle/user.js';
import { type ExecProcess, execProcess } from './exec/exec-plan.js';
import { cgroupDelegate, swapAccounting } from './isolation/cgroup-trees.js';
import { VolumeMounts, volumeBinds, volumesIn, volumesOwn } from './isolation/volume-mounts.js';
import { devicesLend, devicesTake } from './isolation/devices.js';
import { hostPathRoom, hostPathsLend, hostPathsTake } from './isolation/host-paths.js';
import { Lxcfs } from './isolation/lxcfs.js';
import {
  type NamespacePaths,
  namespacesEnsure,
  namespacesRemove,
  withUserNamespace,
} from './isolation/namespaces.js';
import type { LaunchInput } from './launch/launcher.js';
import { hostBounds } from './isolation/privileges.js';
import { rootfsMount, rootfsUnmount, scratchClear } from './isolation/rootfs.js';
import { type SeccompMachine, SECCOMP_PROFILE, seccompProfileRead, seccompFor } from './isolation/seccomp.js';
import type { ContainerRuntimeOptions, WritableLayer } from './ports.js';
import { volumeFault } from './room-faults.js';
import { bundleInMemory, secretMountPoints, secretsBring, secretsLay } from './secrets/secret-files.js';
import { workloadId } from './workload-record.js';

export type OciImage = Extract<ImageContent, { kind: 'oci' }>;

/** Where the parts of one epoch lie on the host. */
export interface PartPaths {
  readonly bundle: string;
  readonly rootfs: string;
  readonly scratch: string;
  /** Trees of its image that are mounted while somebody looks at what it changed. */
  readonly views: string;
  /** Its data volumes, see {@link VolumeMounts}. */
  readonly mounts: string;
  /** Directories of the host that it is lent. */
  readonly hostPaths: string;
  /** Nodes of devices that it is lent. */
  readonly devices: string;
  readonly namespaces: NamespacePaths;
  readonly cgroup: string;
  readonly monitorCgroup: string;
  readonly log: string;
  /** Files of its execs: one of the process, one of its pid. */
  readonly execs: string;
}

/** In a bundle: the image's account files as they were at the start. */
const ACCOUNTS = 'accounts.json';

/** Everything of a container on the host but its processes: namespaces, nics, root mount, bundle. */
export class HostParts {
  private readonly networks = new KeyedLock();
  private readonly mounts: VolumeMounts;
  /** What containers see of memory, processors, uptime and load. */
  readonly lxcfs: Lxcfs;

  constructor(private readonly options: ContainerRuntimeOptions) {
    if (!/^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/.test(options.hostTag))
      throw new RangeError(`hostTag must be 1 to 32 of a-z, 0-9 and "-": ${JSON.stringify(options.hostTag)}`);
    this.mounts = new VolumeMounts(options.volumes);
    const { lxcfs: enabled = false, tell = () => undefined } = options;
    const wanted = (): boolean => namesIn(join(options.runDir, 'bundles')).length > 0;
    this.lxcfs = new Lxcfs(join(options.runDir, 'lxcfs'), { enabled, wanted, tell });
    // Only passing is allowed to others, who need it to reach a root that is theirs; nothing can be listed or read.
    mkdirSync(this.roots, { recursive: true, mode: 0o711 });
    mkdirSync(options.logDir, { recursive: true, mode: 0o700 });
    mkdirSync(options.stateDir, { recursive: true, mode: 0o700 });
  }

  paths(key: WorkloadKey): PartPaths {
    const id = workloadId(key);
    const { runDir, logDir } = this.options;
    return {
      bundle: join(runDir, 'bundles', id),
      rootfs: join(this.roots, id, 'rootfs'),
      scratch: join(runDir, 'scratch', id),
      views: join(runDir, 'views', id),
      mounts: join(runDir, 'mounts', id),
      hostPaths: join(hostPathRoom(this.options).lent, id),
      devices: join(runDir, 'devices', id),
      namespaces: {
        user: join(runDir, 'namespaces', `${id}.user`),
        network: join(runDir, 'namespaces', `${id}.net`),
      },
      cgroup: `${this.cgroupParent}/${id}`,
      monitorCgroup: `${this.cgroupParent}/${id}.monitor`,
      log: join(logDir, `${id}.log`),
      execs: join(runDir, 'bundles', id, 'execs'),
    };
  }

  get roots(): string {
    return join(this.options.runDir, 'roots');
  }
  get cgroupParent(): string {
    return `berth-${this.options.hostTag}`;
  }

  /** Makes what is missing of namespaces, nics and root mount. Layers and writable layer must be there. */
  async realise(
    spec: WorkloadSpec,
    layers: readonly string[],
    base: number,
    watch?: Stopwatch,
  ): Promise<void> {
    const paths = this.paths(spec);
    await timed(watch, 'namespaces', () => namespacesEnsure(paths.namespaces, base));
    await faultPoint('oci.namespaces.made', spec.instanceId);
    await timed(watch, 'network', () => this.attachNics(spec, paths.namespaces.network));
    await faultPoint('oci.nics.attached', spec.instanceId);
    const { upper, work } = await timed(watch, 'overlay', () => this.writableLayer(spec));
    await faultPoint('oci.layer.made', spec.instanceId);
    const { namespaces, rootfs, scratch } = paths;
    await timed(watch, 'overlay', () =>
      rootfsMount({ target: rootfs, scratch, layers, upper, work, base, namespaces }),
    );
    await timed(watch, 'volumes', () => this.mounts.open(spec, paths.mounts, spec.mounts ?? [], namespaces));
    await faultPoint('oci.root.mounted', spec.instanceId);
  }

  /** Data volumes of one that runs, each as large as asked for if that can be. @throws RuntimeError hostFault */
  volumesSeen(spec: WorkloadSpec): Promise<VolumeSeen[]> {
    return this.mounts.seen(this.paths(spec).mounts, spec.mounts ?? []);
  }

  /** Data volumes that a placement has. */
  volumesOf(key: WorkloadKey): readonly VolumeId[] {
    return volumesIn(this.paths(key).mounts);
  }

  /** Gives networks up where nothing else uses them. */
  async releaseNetworks(ids: readonly NetworkId[]): Promise<void> {
    for (const id of ids) await this.networks.run(id, () => this.options.network.release(id));
  }

  private async attachNics(spec: WorkloadSpec, netns: string): Promise<void> {
    for (const [index, nic] of spec.nics.entries()) {
      const ifname = `eth${index}`;
      const network = spec.networks.find((one) => one.id === nic.networkId);
      if (network === undefined)
        throw new RuntimeError(
          'hostFault',
          `nic ${nic.id} is on network ${nic.networkId}, which the spec does not hold`,
        );
      // Between the two nothing hangs on the network yet: the removal of another container must not take it away.
      await this.networks.run(network.id, async () => {
        await this.options.network.ensure(network);
        const there = Netlink.with(netns, (netlink) => netlink.link(ifname)) !== null;
        // The first nic has the way out, as in a virtual machine.
        const target = { netns, ifname, defaultRoute: index === 0 };
        if (!there) await this.options.network.attachVeth(spec, nic, target);
      });
    }
  }

  /** The volume that keeps what the guest writes, made at the first call, and as large as the spec says. @throws RuntimeError noSpace, hostFault */
  async writableLayer(spec: {
    readonly rootVolume: Pick<WorkloadSpec['rootVolume'], 'id' | 'sizeMiB'>;
  }): Promise<WritableLayer> {
    try {
      const { id, sizeMiB } = spec.rootVolume;
      return await this.options.volumes.ensureLayer({ volumeId: id, sizeMiB });
    } catch (error) {
      throw volumeFault(error);
    }
  }

  /**
   * Writes the bundle, new for each run: the guest may have changed its account files. The guest must not run.
   * @param layers of its image, unpacked
   */
  async bundleWrite(
    spec: WorkloadSpec,
    image: OciImage,
    base: number,
    layers: readonly string[],
  ): Promise<void> {
    const paths = this.paths(spec);
    const plan = planOf(spec, image);
    const { security = {}, secrets = [], system = false, mounts: volumes = [] } = spec;
    const { user, accounts } = inImage(() => {
      guestRootCheck(paths.rootfs, mountedOver(spec), plan.cwd);
      volumesOwn(paths.mounts, volumes, paths.rootfs);
      const passwd = guestFileRead(paths.rootfs, '/etc/passwd');
      const group = guestFileRead(paths.rootfs, '/etc/group');
      return { user: userResolve(plan.user, { passwd, group }), accounts: { passwd, group } };
    });
    const profile = await seccompProfileRead(this.options.seccompProfile ?? SECCOMP_PROFILE);
    const network = spec.nics[0]?.networkId;
    mkdirSync(paths.bundle, { recursive: true, mode: 0o700 });
    const hostPaths = this.hostPathsLend(spec);
    if (secrets.length > 0) bundleInMemory(paths.bundle);
    const { mounts, env } = secretsLay(paths.bundle, secrets, base);
    await faultPoint('oci.secrets.laid', spec.instanceId);
    const identityMounts = guestIdentityWrite(paths.bundle, {
      hostname: spec.name,
      addresses: spec.nics.flatMap((nic) => [nic.ipv4, ...(nic.ipv6 === undefined ? [] : [nic.ipv6])]),
      resolver: network === undefined ? null : await this.options.network.resolver(network),
      dns: spec.dns,
    });
    const config = bundleConfig({
      instanceId: spec.instanceId,
      epoch: spec.epoch,
      hostname: spec.name,
      rootfs: paths.rootfs,
      process: { ...plan, env: mergeEnv(plan.env, env) },
      init: plan.init ? initProcess(this.options.initProgram) : noInit,
      user,
      base,
      namespaces: paths.namespaces,
      cgroup: paths.cgroup,
      limits: await this.limits(spec, layers),
      filesOver: [
        // The kernel lets no container in it mount a procfs while something lies over ours.
        ...(security.nesting === true ? [] : await this.lxcfs.mounts()),
        ...volumeBinds(paths.mounts, volumes),
        ...identityMounts,
        ...mounts,
        // Last: whatever place a link of the image leads to, nothing of ours is made in a directory of the host.
        ...hostPaths,
      ],
      devices: devicesLend(paths.devices, spec.devices ?? [], this.options.devices ?? {}, base),
      seccomp: seccompFor(profile, machine(), security, system),
      bounds: hostBounds(),
      security,
      system,
      input: inputOf(spec),
    });
    if (system) cgroupDelegate(paths.cgroup, base);
    await writeFileAtomic(join(paths.bundle, ACCOUNTS), JSON.stringify(accounts), { durable: false });
    await writeFileAtomic(join(paths.bundle, 'config.json'), JSON.stringify(config, null, 1), {
      durable: false,
    });
  }

  private hostPathsLend(spec: WorkloadSpec): OciMount[] {
    const { hostPaths: directory, namespaces } = this.paths(spec);
    return withUserNamespace(namespaces, (userNamespace) =>
      hostPathsLend(hostPathRoom(this.options), spec.hostPaths ?? [], {
        ...{ directory, userNamespace, project: spec.project },
      }),
    );
  }

  /** Brings secrets of one that runs to their newest values, as far as that can be. @throws RuntimeError secretMissing */
  secretsBring(spec: WorkloadSpec, base: number): void {
    secretsBring(this.paths(spec).bundle, spec.secrets ?? [], base);
  }

  /** What its cgroups are to hold it to here. @param layers of its image, unpacked */
  async limits(spec: WorkloadSpec, layers: readonly string[]): Promise<ContainerLimits> {
    if (!boundsDisks(spec)) return limitsOf(spec, { swapAccounting: swapAccounting() });
    const { upper } = await this.writableLayer(spec);
    const { mounts } = this.paths(spec);
    const volumes = volumesIn(mounts).map((id) => join(mounts, id));
    // Its layer and its volumes are disks of their own, whose files are on another.
    const disks = disksHolding([upper, dirname(dirname(upper)), ...volumes, ...layers]);
    return limitsOf(spec, { swapAccounting: swapAccounting(), disks });
  }

  /**
   * The process of an exec, from the bundle of the run. Names are those that the image had at the start: the guest may
   * have changed its files since, and they cannot be read safely while it runs.
   * @throws RuntimeError badImage, unsupported for a user where an earlier version started the run
   */
  async execProcess(key: WorkloadKey, open: ExecOpen): Promise<ExecProcess> {
    const { bundle } = this.paths(key);
    const read = async <T>(name: string): Promise<T> =>
      JSON.parse(await readFile(join(bundle, name), 'utf8')) as T;
    const user =
      open.user === undefined
        ? null
        : userResolve(open.user, await read<AccountFiles>(ACCOUNTS).catch(noAccounts));
    return execProcess(await read<OciConfig>('config.json'), user, open);
  }

  /** What the program of the run reads from; nothing where an earlier version started it. */
  async input(key: WorkloadKey): Promise<LaunchInput> {
    const text = await readFile(join(this.paths(key).bundle, 'config.json'), 'utf8');
    const said = (JSON.parse(text) as Partial<OciConfig>).annotations?.[inputAnnotation];
    return said === 'pipe' || said === 'terminal' ? said : 'none';
  }

  /** The accounts of its image as they were when the run began; null where they are not known. */
  async passwd(key: WorkloadKey): Promise<string | null> {
    const path = join(this.paths(key).bundle, ACCOUNTS);
    const text = await readFile(path, 'utf8').catch((error: unknown) => {
      if (hasCode(error, 'ENOENT')) return null;
      throw error;
    });
    return text === null ? null : (JSON.parse(text) as AccountFiles).passwd;
  }

  /** Closes its root, its data volumes and its writable layer; no process may be left. The next `realise` opens them again. */
  async unmount(key: WorkloadKey, volumeId: VolumeId | null): Promise<void> {
    const paths = this.paths(key);
    rootfsUnmount(paths.rootfs);
    hostPathsTake(paths.hostPaths);
    await this.mounts.close(key, paths.mounts);
    await faultPoint('oci.root.unmounted', key.instanceId);
    if (volumeId !== null) await this.options.volumes.closeLayer(volumeId);
  }

  /**
   * Takes away what `realise` and `bundleWrite` made; no process may be left. Repeating it is no error.
   * @param volumeId its writable layer, or null where no record tells: that is closed when it is removed
   */
  async release(key: WorkloadKey, volumeId: VolumeId | null): Promise<void> {
    const paths = this.paths(key);
    await this.options.network.detach({ instanceId: key.instanceId, epoch: key.epoch });
    await faultPoint('oci.nics.detached', key.instanceId);
    await this.unmount(key, volumeId);
    namespacesRemove(paths.namespaces);
    memoryForget(paths.bundle);
    scratchClear(paths.scratch);
    scratchClear(paths.views);
    devicesTake(paths.devices);
    await cgroupRemove(paths.cgroup);
    await cgroupRemove(paths.monitorCgroup);
    await this.lxcfs.look();
  }
}

/** What its program is to read from. */
export const inputOf = ({ process }: Pick<WorkloadSpec, 'process'>): LaunchInput =>
  process?.tty === true ? 'terminal' : process?.stdin === true ? 'pipe' : 'none';

/** Where something of ours is mounted over the image. */
function mountedOver({ security = {}, secrets, system, mounts = [], hostPaths = [] }: WorkloadSpec): {
  files: string[];
  directories: string[];
} {
  const { files, directories } = secretMountPoints(secrets);
  return {
    files: [...IDENTITY_PATHS, ...files],
    directories: [
      ...tmpfsPaths(security, system === true),
      ...mounts.map(({ path }) => path),
      ...hostPaths.map(({ path }) => path),
      ...directories,
    ],
  };
}

/** Where something in memory is mounted over the image; `/dev` is not the image's. */
const tmpfsPaths = ({ tmpfs = [] }: ContainerSecurity, system: boolean): string[] =>
  [...tmpfs.map(({ path }) => path), ...(system ? systemTmpfs(1).map((m) => m.destination) : [])].filter(
    (path) => !path.startsWith('/dev/'),
  );

/** Looks into the root file system; what is wrong there is the image's fault, or that of a guest that changed it. */
function inImage<T>(look: () => T): T {
  try {
    return look();
  } catch (error) {
    if (error instanceof RuntimeError) throw error;
    throw new RuntimeError('badImage', error instanceof Error ? error.message : String(error), {
      cause: error,
      remedy: 'mend the image; a guest that changed its own disk like this needs a new instance',
    });
  }
}

function noAccounts(error: unknown): never {
  if (!hasCode(error, 'ENOENT')) throw error;
  throw new RuntimeError(
    'unsupported',
    'this run was started by an earlier version, which kept no account files',
    {
      remedy: 'leave out the user, or restart the instance',
    },
  );
}

function machine(): SeccompMachine {
  if (process.arch === 'x64') return 'x86_64';
  if (process.arch === 'arm64') return 'aarch64';
  throw new RuntimeError('unsupported', `no seccomp rules for ${process.arch}`);
}
