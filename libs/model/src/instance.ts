import { z } from 'zod';
import { CDROMS_MAX, CdromSpec, CdromStatus } from './cdrom.js';
import { CloudInitSpec } from './cloud-init.js';
import { ContainerResources } from './container-resources.js';
import { ContainerSecurity } from './container-security.js';
import { CpuSpec } from './cpu.js';
import { DependsOn } from './dependencies.js';
import { RootDiskSource } from './disk-source.js';
import { displaysMost } from './displays.js';
import { FirmwareSpec } from './firmware.js';
import { GuestDns } from './guest-dns.js';
import { ProbesSpec } from './health.js';
import { DevicesSpec } from './host-device.js';
import { HostPathUses } from './host-path.js';
import { HugePageSize } from './huge-pages.js';
import {
  DecisionId,
  HostId,
  InstanceId,
  Labels,
  Name,
  NetworkId,
  NicId,
  OperationId,
  VolumeId,
} from './ids.js';
import { checkInstance, noNul } from './instance-rules.js';
import { NicLimits } from './network.js';
import { NumaSpec } from './numa.js';
import { PublishedPort } from './published-port.js';
import { bookedBy, sizesOf } from './sizes.js';
import { SecretUses } from './secret.js';
import { SnapshotSchedule } from './snapshot.js';
import { StopGrace } from './stop-grace.js';
import { SystemSpec } from './system-container.js';
import { UidRange } from './uid-range.js';
import { VolumeMount } from './volume-mount.js';
import { VsockCid } from './vsock.js';

export const Isolation = z.enum(['vm', 'microvm', 'container']);
export type Isolation = z.infer<typeof Isolation>;

/** What a user may ask for. */
export const Desired = z.enum(['running', 'stopped', 'paused', 'suspended']);
export type Desired = z.infer<typeof Desired>;

export const RestartPolicy = z.strictObject({
  policy: z.enum(['always', 'onFailure', 'never']).default('never'),
  /** First wait before a crash restart, in seconds; doubles up to `maxBackoffSeconds`. */
  backoffSeconds: z.int().min(1).max(3600).default(1),
  maxBackoffSeconds: z.int().min(1).max(86_400).default(300),
});
export type RestartPolicy = z.infer<typeof RestartPolicy>;

/** An OCI process: `command` replaces the image's entrypoint, `args` its cmd. */
export const ProcessSpec = z.strictObject({
  command: z.array(z.string().max(4096)).max(256).optional(),
  args: z.array(z.string().max(32_768)).max(256).optional(),
  env: z
    .record(
      z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'environment names: letters, digits and "_"'),
      z.string().max(32_768),
    )
    .optional(),
  /** `uid`, `uid:gid`, `name` or `name:group` as in the image's passwd. */
  user: z
    .string()
    .max(128)
    .regex(/^[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)?$/)
    .optional(),
  workdir: z.string().max(4096).startsWith('/').optional(),
  /** What asks it to end, in the place of the image's own signal: `TERM`, `SIGINT`, `RTMIN+3`. */
  stopSignal: z
    .string()
    .max(16)
    .regex(
      /^(SIG)?(HUP|INT|QUIT|ABRT|KILL|USR1|USR2|ALRM|TERM|WINCH|PWR|RTMIN(\+([0-9]|[12][0-9]|30))?)$/,
      'must be a signal that ends programs, as TERM, INT, QUIT, USR1 or RTMIN+3',
    )
    .optional(),
  /**
   * A first process of Berth's beside it, which hands signals on to it, reaps orphans and ends with its exit code: for a program that
   * does none of that when it is pid 1. It is in the container at `/dev/berth-init`.
   */
  init: z.boolean().optional(),
  /** Its standard input stays open, for whoever attaches (container). Without it, it reads the end at once. */
  stdin: z.boolean().optional(),
  /** It has a terminal, which is its standard input too, for whoever attaches (container). */
  tty: z.boolean().optional(),
});
export type ProcessSpec = z.infer<typeof ProcessSpec>;

export const RootDisk = z.strictObject({
  /** Size of the root disk (vm) or limit of the writable layer (container, microvm), MiB. It grows while the instance runs (vm, container), and never shrinks. */
  sizeMiB: z
    .int()
    .min(1)
    .max(64 * 1024 * 1024)
    .default(1024),
  pool: Name.default('default'),
  /**
   * What it begins as (vm), instead of the image, which stays what it stands on: the image of that instance is the one to name.
   * It is on the host of the snapshot. Cannot change after creation.
   */
  source: RootDiskSource.optional(),
});

export const NicSpec = z.strictObject({
  network: Name.default('default'),
  /** Its address; absent: the one it has, which was the lowest free one of the network. */
  address: z.ipv4().optional(),
  /** Its IPv6 address, on a network that has IPv6; absent: the one it has, which was the lowest free one. */
  address6: z.ipv6().optional(),
  /** Ports of its host that lead to this nic. They, the groups and the limits can change while the instance runs; network and address while it is stopped. */
  ports: z.array(PublishedPort).max(32).optional(),
  /** Security groups of the project. With none, all may be connected to; with some, what their rules allow. */
  securityGroups: z.array(Name).max(8).optional(),
  /** Most that passes it. Absent: all. */
  limits: NicLimits.optional(),
});

/** Who starts a virtual machine's QEMU: the host's libvirt, or the agent itself. */
export const VmDriver = z.enum(['libvirt', 'qemu']);
export type VmDriver = z.infer<typeof VmDriver>;

export const PlacementSpec = z.strictObject({
  /** Host labels that must match exactly. */
  selector: Labels.default({}),
  /** `kvm` waits for a host whose acceleration was measured usable; it is never downgraded. */
  accel: z.enum(['any', 'kvm', 'tcg']).default('any'),
  /**
   * Driver of a virtual machine; a change takes effect at the next start, with the same disk. `any` is libvirt where it
   * answers when the placement is prepared, else qemu.
   */
  driver: z.enum(['any', ...VmDriver.options]).default('any'),
  arch: z.enum(['x86_64', 'aarch64']).default('x86_64'),
});
export type PlacementSpec = z.infer<typeof PlacementSpec>;

/** What a host does with a machine whose guest no longer tends its watchdog; `none` only tells of it. */
export const WatchdogAction = z.enum(['reset', 'poweroff', 'pause', 'none']);
export type WatchdogAction = z.infer<typeof WatchdogAction>;

/** What a user asks for. Defaults are filled in by parsing; unknown fields are refused. */
export const InstanceSpec = z
  .strictObject({
    isolation: Isolation,
    /** Name of an image of the project. */
    image: Name,
    /** Virtual processors (vm, microvm). */
    vcpus: z.int().min(1).max(256).optional(),
    /**
     * Up to so many `vcpus` of a vm there can be while it runs, and down again to what it began with; absent: it keeps those. A change
     * takes effect at the next start.
     */
    maxVcpus: z.int().min(1).max(256).optional(),
    /** CPU share and cap in thousandths of a processor; for VMs a cap on all vCPUs together. */
    cpuMillis: z.int().min(10).max(256_000).optional(),
    memoryMiB: z
      .int()
      .min(4)
      .max(16 * 1024 * 1024),
    /**
     * Up to so much `memoryMiB` of a vm can grow while it runs, and shrink again to what it began with; absent: it cannot. Its
     * kernel needs the driver virtio_mem. A change takes effect at the next start.
     */
    maxMemoryMiB: z
      .int()
      .min(4)
      .max(16 * 1024 * 1024)
      .optional(),
    /**
     * Its memory in huge pages of this size (vm), which its host has reserved: all of it from the start on, and none of it is given back
     * while it runs. A change takes effect at the next start.
     */
    hugePages: HugePageSize.optional(),
    /** Nodes of memory and processors (vm), of its guest and of its host. A change takes effect at the next start. */
    numa: NumaSpec.optional(),
    rootDisk: RootDisk.default({ sizeMiB: 1024, pool: 'default' }),
    /**
     * Data volumes of the project. A vm has them as disks, in no order: its guest knows each by its serial number. A container has those of
     * format ext4 at their paths; a change of its list takes effect at its next start.
     */
    volumes: z.array(VolumeMount).max(16).default([]),
    /** CD-ROM drives (vm). How many there are changes at the next start, what is in them also while the instance runs. */
    cdroms: z.array(CdromSpec).max(CDROMS_MAX).optional(),
    nics: z
      .array(NicSpec)
      .max(8)
      .default([{ network: 'default' }]),
    process: ProcessSpec.optional(),
    /** cloud-init user data (vm). */
    userData: z.string().max(65_536).refine(noNul, 'must not contain NUL').optional(),
    cloudInit: CloudInitSpec.optional(),
    /** What processor the guest sees (vm). A change takes effect at the next start. */
    cpu: CpuSpec.optional(),
    /** BIOS or UEFI (vm); BIOS when absent. A change takes effect at the next start. */
    firmware: FirmwareSpec.optional(),
    /** A TPM 2.0 (vm), which keeps what it holds with the root disk. A change takes effect at the next start. */
    tpm: z.boolean().optional(),
    /**
     * A USB tablet on a controller of its own (vm), beside the virtio one: the pointer of a display for a guest without virtio's
     * driver. There when absent. `false` saves a guest that has the driver the start of the controller. A change takes effect at
     * the next start.
     */
    usbTablet: z.boolean().optional(),
    /**
     * How many screens it has (vm), each a graphics card and a VNC server of its own; 1 when absent. More than one need
     * `placement.driver: qemu`. A change takes effect at the next start.
     */
    displays: z.int().min(1).max(displaysMost).optional(),
    /**
     * A socket device (vm, virtio-vsock): programs of its host and of its guest reach each other by AF_VSOCK, without any network. Its
     * host gives it a context id, which the status tells. A change takes effect at the next start.
     */
    vsock: z.boolean().optional(),
    /** A watchdog device (i6300esb) for the guest to arm (vm). A change takes effect at the next start. */
    watchdog: z.strictObject({ action: WatchdogAction }).optional(),
    /** Snapshots by schedule (vm). A change takes effect at once. */
    snapshots: SnapshotSchedule.optional(),
    /**
     * Seconds that the guest gets to end by itself when it is stopped, restarted or deleted, before it is ended by force; 0 forces
     * it at once. 30 for a VM and a system container, which shut their system down, and 10 for others when absent. A change takes effect at the next stop.
     */
    stopGraceSeconds: StopGrace.optional(),
    /** What its host asks it while it runs, to know how it is. A change takes effect at once, and asks anew. */
    probes: ProbesSpec.optional(),
    /** What it is given and what is taken from it (container). A change takes effect at the next start. */
    security: ContainerSecurity.optional(),
    /**
     * It is a system container: its image has an init as systemd, which runs like a machine's, with services and a clean shutdown. A change
     * takes effect at the next start.
     */
    system: SystemSpec.optional(),
    /**
     * Devices of its host (container), by the names that its operator gave them in the agent's configuration. It goes only where all of them
     * are offered. A change takes effect at the next start.
     */
    devices: DevicesSpec.optional(),
    /**
     * Directories of its host (container), by the names that its operator gave them in the agent's configuration. It goes only where all of
     * them are offered to its project. A change takes effect at the next start.
     */
    hostPaths: HostPathUses.optional(),
    /** How it finds names (container, microvm): as its network has it when absent. A change takes effect at the next start. */
    dns: GuestDns.optional(),
    /** Secrets of the project that it has (container, microvm). A change takes effect at the next start; a new value may reach it before. */
    secrets: SecretUses.optional(),
    /** Its share and its bounds beside `cpuMillis` and `memoryMiB` (container). A change takes effect at once. */
    resources: ContainerResources.optional(),
    /**
     * What has to be so before it starts: other instances of the project, wherever they run. A start waits in `pending` until then, and its
     * reason says for what; what becomes of them later does not touch a run.
     */
    dependsOn: DependsOn.optional(),
    restart: RestartPolicy.default({ policy: 'never', backoffSeconds: 1, maxBackoffSeconds: 300 }),
    placement: PlacementSpec.default({ selector: {}, accel: 'any', driver: 'any', arch: 'x86_64' }),
    desired: Desired.default('running'),
  })
  .superRefine((spec, ctx) =>
    checkInstance(spec, (path, message) => ctx.addIssue({ code: 'custom', path: [...path], message })),
  );
// Not by `meta` at its end: the rules that it is checked by are of its own type.
z.globalRegistry.add(InstanceSpec, { id: 'InstanceSpec', sentAs: 'InstanceSpecInput' });
export type InstanceSpec = z.infer<typeof InstanceSpec>;
export type InstanceSpecInput = z.input<typeof InstanceSpec>;

/** Resources a spec books on a host. */
export interface Resources {
  readonly cpuMillis: number;
  readonly memoryMiB: number;
  readonly diskMiB: number;
}

/** What a spec books. */
export const resourcesOf = (spec: InstanceSpec): Resources => ({
  ...bookedBy(spec.isolation, sizesOf(spec)),
  diskMiB: spec.rootDisk.sizeMiB,
});

export const StableState = z.enum([
  'pending',
  'running',
  'paused',
  'suspended',
  'stopped',
  'unknown',
  'error',
]);
export const TransitionalState = z.enum([
  'provisioning',
  'starting',
  'stopping',
  'pausing',
  'resuming',
  'suspending',
  'migrating',
  'restoring',
  'deleting',
]);
export const InstanceState = z.enum([...StableState.options, ...TransitionalState.options]);
export type InstanceState = z.infer<typeof InstanceState>;

/** Order inside an epoch is (run, phase). */
export const Phase = z.enum(['assigned', 'preparing', 'starting', 'running', 'stopping', 'ended']);
export type Phase = z.infer<typeof Phase>;
export const phaseRank = (p: Phase): number => Phase.options.indexOf(p);

export const PlacementRole = z.enum(['owner', 'incoming']);
export const Power = z.enum(['off', 'running', 'paused', 'suspended', 'crashed']);
export type Power = z.infer<typeof Power>;

/** What the kernel counted of a run's memory. */
export const MemoryEnd = z.strictObject({
  /** Its limit when it ended; null for none. */
  limitBytes: z.int().min(0).nullable(),
  /** The most that it held; null where the kernel does not keep it. */
  peakBytes: z.int().min(0).nullable(),
  /** Processes that the kernel killed for want of memory. */
  oomKills: z.int().min(0),
});
export type MemoryEnd = z.infer<typeof MemoryEnd>;

/** How a run ended. Exactly one of `code` and `signal` is set when the cause is a process exit. */
export const ExitInfo = z.strictObject({
  reason: z.enum([
    'exited',
    'signalled',
    'oomKilled',
    'guestShutdown',
    'guestCrash',
    'hypervisorCrash',
    'watchdog',
    /** Its liveness or start-up probe failed, and its host ended it. */
    'unhealthy',
    'stopped',
    'killed',
    'startFailed',
    'hostBoot',
    'lost',
  ]),
  code: z.int().optional(),
  signal: z.string().optional(),
  message: z.string().optional(),
  /** Of a container of which the kernel killed a process for want of memory, however it ended. */
  memory: MemoryEnd.optional(),
  at: z.iso.datetime(),
});
export type ExitInfo = z.infer<typeof ExitInfo>;

export const Condition = z.strictObject({
  type: z.string(),
  reason: z.string(),
  message: z.string(),
  /** What an operator can do about it. */
  remedy: z.string().optional(),
  since: z.iso.datetime(),
});
export type Condition = z.infer<typeof Condition>;

/** Type of the condition of a workload that runs with something else than its spec says, until it is restarted. */
export const restartRequiredType = 'RestartRequired';

export const NicStatus = z.strictObject({
  id: NicId,
  networkId: NetworkId,
  network: Name,
  mac: z.string(),
  ipv4: z.string(),
  /** Absent where its network has no IPv6. */
  ipv6: z.string().optional(),
  /** Ports of its host that lead to it; none while it is on no host. */
  ports: z.array(PublishedPort),
  /** It is asked for no more, nothing passes it, and its machine has not let go of it yet. */
  leaving: z.literal(true).optional(),
});
export type NicStatus = z.infer<typeof NicStatus>;

/** A data volume that an instance asks for, or still has. */
export const VolumeStatus = z.strictObject({
  id: VolumeId,
  name: Name,
  /** Its machine has it now. */
  attached: z.boolean(),
  /** Serial number of its disk in the guest. */
  serial: z.string(),
});
export type VolumeStatus = z.infer<typeof VolumeStatus>;

export const InstanceStatus = z
  .strictObject({
    state: InstanceState,
    /** The operation that owns a transitional state. */
    operationId: OperationId.nullable(),
    deadline: z.iso.datetime().nullable(),
    reason: z.string().nullable(),
    host: z.strictObject({ id: HostId, name: Name }).nullable(),
    epoch: z.int().nullable(),
    run: z.int().nullable(),
    phase: Phase.nullable(),
    power: Power.nullable(),
    /** The runtime on the host that has it: `libvirt` or `qemu` for a vm, `oci` for a container, `microvm`. Null before it is prepared. */
    driver: z.string().nullable(),
    lastExit: ExitInfo.nullable(),
    conditions: z.array(Condition),
    nics: z.array(NicStatus),
    volumes: z.array(VolumeStatus),
    /** What is in its CD-ROM drives, in the order of its spec at its start. */
    cdroms: z.array(CdromStatus),
    /** Context id of its vsock device on its host, the same while it is there; null for a machine without one, and before its first start. */
    vsockCid: VsockCid.nullable(),
    /** Nodes of its host that its own are bound to, in their order; null for a machine that is bound to none. */
    numaHostNodes: z.array(z.int().min(0)).nullable(),
    /** Users of its host that a container's are; null for others, and before its first start. */
    uidRange: UidRange.nullable(),
    /** The newest generation of the spec that its host has put into effect, but for what `RestartRequired` names. */
    appliedGeneration: z.int().nullable(),
    rootVolumeId: VolumeId.nullable(),
    decisionId: DecisionId.nullable(),
    observedAt: z.iso.datetime().nullable(),
  })
  .meta({ id: 'InstanceStatus' });
export type InstanceStatus = z.infer<typeof InstanceStatus>;

export const Instance = z
  .strictObject({
    id: InstanceId,
    project: Name,
    name: Name,
    labels: Labels,
    uuid: z.uuid(),
    generation: z.int(),
    runGeneration: z.int(),
    resourceVersion: z.int(),
    spec: InstanceSpec,
    imageDigest: z.string(),
    status: InstanceStatus,
    createdAt: z.iso.datetime(),
    updatedAt: z.iso.datetime(),
    deletingSince: z.iso.datetime().nullable(),
  })
  .meta({ id: 'Instance' });
export type Instance = z.infer<typeof Instance>;

export const InstanceCreate = z
  .strictObject({ name: Name, labels: Labels.default({}), spec: InstanceSpec })
  .meta({ id: 'InstanceCreate' });
export type InstanceCreate = z.infer<typeof InstanceCreate>;
