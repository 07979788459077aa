import {
  Capabilities,
  Capacity,
  CdromSeen,
  CdromSpec,
  CDROMS_MAX,
  CloudInitSpec,
  Condition,
  CpuSpec,
  DevicesSpec,
  Digest,
  DiskFormat,
  DiskSource,
  displaysMost,
  ExitInfo,
  ExportedFile,
  FirmwareSpec,
  GuestDns,
  HugePageSize,
  HostId,
  HostMount,
  HostNetworkSpec,
  HostSecret,
  HostVolume,
  ImageContent,
  IsoContent,
  InstanceId,
  Isolation,
  Labels,
  Name,
  NetworkId,
  NicId,
  numaNodesMost,
  NumaSpec,
  OperationId,
  Phase,
  Power,
  ContainerResources,
  ContainerSecurity,
  ProbesSpec,
  ProcessSpec,
  RestartPolicy,
  SecretId,
  SnapshotId,
  Sizes,
  StopGrace,
  UidRange,
  SnapshotTaken,
  InstanceStats,
  UsageSample,
  VmDriver,
  VolumeId,
  VolumeSeen,
  VsockCid,
  WatchdogAction,
  HostPathUses,
} from '@berth/model';
import { z } from 'zod';

/** Version of every message here. A peer of another version is refused with a reason, never half understood. */
export const protocol = 1;
const version = z.literal(protocol);
const epoch = z.int().min(1);
/** Values of secrets in one message, at most. */
export const secretsAtOnce = 64;

/** What a runtime needs to run a workload, without the networks, which a list carries once. */
export const Workload = z.strictObject({
  instanceId: InstanceId,
  epoch,
  project: Name,
  name: Name,
  uuid: z.uuid(),
  isolation: Isolation,
  image: ImageContent,
  vcpus: z.int().min(1),
  /** Absent where there come no more while it runs, and in what an API or a journal of before holds. */
  maxVcpus: z.int().min(1).optional(),
  /** As in `Sizes`; only in what is booked. */
  minVcpus: z.int().min(1).optional(),
  cpuMillis: z.int().min(1).nullable(),
  memoryMiB: z.int().min(1),
  /** Absent where it does not grow while it runs, and in what an API or a journal of before holds. */
  maxMemoryMiB: z.int().min(1).optional(),
  /** As in `Sizes`; only in what is booked. */
  minMemoryMiB: z.int().min(1).optional(),
  rootVolume: z.strictObject({
    id: VolumeId,
    sizeMiB: z.int().min(1),
    /** What it begins as instead of the image. Absent once it has been made; only for hosts with the facet `copies`. */
    source: DiskSource.optional(),
  }),
  /** Absent in what an API or a journal of before holds. */
  volumes: z.array(HostVolume).max(64).default([]),
  /** Volumes of a container; absent where it has none, and in what an API or a journal of before holds. Only for hosts with their facet. */
  mounts: z.array(HostMount).max(64).optional(),
  nics: z
    .array(
      z.strictObject({
        id: NicId,
        networkId: NetworkId,
        mac: z.string(),
        ipv4: z.string(),
        /** Absent where its network has no IPv6. Only for hosts with the facet `ipv6`. */
        ipv6: z.string().optional(),
      }),
    )
    .max(64),
  /** Absent for a machine without any, and in what an API or a journal of before holds. Only for hosts with the facet `cdroms`. */
  cdroms: z
    .array(CdromSpec.omit({ image: true }).extend({ image: IsoContent.nullable() }))
    .max(CDROMS_MAX)
    .optional(),
  process: ProcessSpec.nullable(),
  userData: z.string().nullable(),
  /** Absent where nobody is to sign in, and in what an API or a journal of before holds. */
  cloudInit: CloudInitSpec.optional(),
  /** Absent for BIOS, and in what an API or a journal of before holds. Only for hosts with its facet. */
  firmware: FirmwareSpec.optional(),
  /** Absent for a machine without one, and in what an API or a journal of before holds. Only for hosts with its facet. */
  tpm: z.literal(true).optional(),
  /** Absent for ordinary ones, and in what an API or a journal of before holds. Only for hosts that say how many they have. */
  hugePages: HugePageSize.optional(),
  /** Absent for one node that may be anywhere, and in what an API or a journal of before holds. Only for hosts with its facet. */
  numa: NumaSpec.optional(),
  /** Absent for a machine with one, and in what an API or a journal of before holds. */
  usbTablet: z.literal(false).optional(),
  /** Absent for one, and in what an API or a journal of before holds. Only for hosts with its facet. */
  displays: z.int().min(2).max(displaysMost).optional(),
  /** Absent for a machine without one, and in what an API or a journal of before holds. Only for hosts with its facet. */
  vsock: z.literal(true).optional(),
  /** Absent for its host's choice, and in what an API or a journal of before holds. Only for hosts that list it. */
  cpuModel: CpuSpec.shape.model.optional(),
  /** Absent where the machine has none, and in what an API or a journal of before holds. */
  watchdog: WatchdogAction.optional(),
  /** Absent where nothing is asked, and in what an API or a journal of before holds. Only for hosts with its facet. */
  probes: ProbesSpec.optional(),
  /** Absent for the defaults, and in what an API or a journal of before holds. Only for hosts with its facet. */
  security: ContainerSecurity.optional(),
  /** Absent for any other, and in what an API or a journal of before holds. Only for hosts with its facet. */
  system: z.literal(true).optional(),
  /** Absent for none, and in what an API or a journal of before holds. Only for hosts that offer them. */
  devices: DevicesSpec.optional(),
  /** Absent for none, and in what an API or a journal of before holds. Only for hosts that offer them. */
  hostPaths: HostPathUses.optional(),
  /** Absent for its network's, and in what an API or a journal of before holds. Only for hosts with its facet. */
  dns: GuestDns.optional(),
  /** Absent where it has none, and in what an API or a journal of before holds. Only for hosts with its facet. */
  secrets: z.array(HostSecret).max(32).optional(),
  /** Absent for the defaults, and in what an API or a journal of before holds. Only for hosts with its facet. */
  resources: ContainerResources.optional(),
  restart: RestartPolicy,
  accel: z.enum(['any', 'kvm', 'tcg']),
  /** Which runtime of the isolation is to make it. Absent in what an API or a journal of before holds. */
  driver: z.enum(['any', ...VmDriver.options]).default('any'),
});
export type Workload = z.infer<typeof Workload>;

/** One placement as the API wants it. */
export const Assignment = z.strictObject({
  instanceId: InstanceId,
  epoch,
  /** Instance generation the workload was rendered from. */
  revision: z.int().min(1),
  wanted: z.enum(['running', 'paused', 'suspended', 'stopped']),
  /** Seconds the guest gets to end by itself before it is forced. */
  stopGraceSeconds: StopGrace,
  workload: Workload,
  /** What the epoch has room for on its host, whatever its spec asks for by now. Absent from an API of before. */
  booked: Sizes.optional(),
});
export type Assignment = z.infer<typeof Assignment>;

/** The explicit order to remove. Absence from a list never removes anything. */
export const Tombstone = z.discriminatedUnion('kind', [
  z.strictObject({ id: z.string().min(1).max(64), kind: z.literal('epoch'), instanceId: InstanceId, epoch }),
  z.strictObject({
    id: z.string().min(1).max(64),
    kind: z.literal('volume'),
    /** Whose root volume it was; null for a data volume, which was nobody's. */
    instanceId: InstanceId.nullable(),
    /** A data volume that containers had. Only for hosts with the facet `mounts`. */
    mounted: z.literal(true).optional(),
    volumeId: VolumeId,
  }),
]);
export type Tombstone = z.infer<typeof Tombstone>;

/** What is asked of a snapshot, until the host said that it is done. */
export const SnapshotOrder = z.strictObject({
  /** The operation that asks for it: another order of the same snapshot has another one. */
  id: OperationId,
  verb: z.enum(['take', 'revert', 'remove']),
  instanceId: InstanceId,
  snapshotId: SnapshotId,
  /** Its disks, the root disk first. */
  volumes: z.array(VolumeId).min(1).max(65),
  /** Set when its guest's memory is part of it. */
  memory: z.literal(true).optional(),
});
export type SnapshotOrder = z.infer<typeof SnapshotOrder>;

/** A data volume to be made as another one is, until the host said what became of it. What is no longer listed is given up. */
export const CloneOrder = z.strictObject({
  /** The operation that asks for it. */
  id: OperationId,
  volumeId: VolumeId,
  sourceId: VolumeId,
  /** Of the new one. */
  format: DiskFormat,
  sizeMiB: z.int().min(1),
  /** A file is to be made of it instead, which is no volume for a machine; only for hosts with the facet `exports`. */
  export: z.literal(true).optional(),
  /** Of an export: as the other one was in this snapshot. Absent: as it is now. */
  snapshotId: SnapshotId.optional(),
});
export type CloneOrder = z.infer<typeof CloneOrder>;

/** Everything one host is asked to hold: level-triggered, sent whole. */
export const AssignmentList = z.strictObject({
  protocol: version,
  hostId: HostId,
  /** Changes when the control plane's database was restored: the agent then only reports. */
  storeIncarnation: z.string().min(1).max(64),
  session: z.int().min(1),
  /** Raised by every committing change; the agent refuses a lower one. */
  assignmentRev: z.int().min(0),
  assignments: z.array(Assignment).max(10_000),
  networks: z.array(HostNetworkSpec).max(4_096),
  tombstones: z.array(Tombstone).max(20_000),
  /**
   * Images to remove, once nothing here uses them and a time of grace is over. Unlike other tombstones they count as long as
   * they are listed: an image that is wanted again is not listed any more. Absent in what an API of before says.
   */
  imageTombstones: z.array(Digest).max(1_000).optional(),
  /** Absent where there are none, and in what an API of before says. */
  snapshots: z.array(SnapshotOrder).max(10_000).optional(),
  /** The same; only for hosts with the facet `clones`. */
  clones: z.array(CloneOrder).max(10_000).optional(),
});
export type AssignmentList = z.infer<typeof AssignmentList>;

/**
 * Values of secrets that assignments of the host name, sent before the list that does. What is not in it stays as it was. Written to no
 * disk of the host.
 */
export const SecretValues = z.strictObject({
  protocol: version,
  values: z
    .array(z.strictObject({ id: SecretId, version: z.int().min(1), base64: z.base64() }))
    .max(secretsAtOnce),
});
export type SecretValues = z.infer<typeof SecretValues>;

/** The agent's answer to a list it does not act on. */
export const Refusal = z.strictObject({
  code: z.enum(['lowerRevision', 'staleSession', 'wrongHost', 'otherIncarnation', 'malformed']),
  message: z.string(),
});
export type Refusal = z.infer<typeof Refusal>;

/** First words of an agent. */
export const Hello = z.strictObject({
  protocol: version,
  hostId: HostId,
  bootId: z.string().min(1).max(64),
  agentVersion: z.string().max(64),
  /** Incarnation of the store whose lists this agent obeys; null before the first list. */
  storeIncarnation: z.string().max(64).nullable(),
});
export type Hello = z.infer<typeof Hello>;

export const SessionStart = z.strictObject({
  protocol: version,
  session: z.int().min(1),
  storeIncarnation: z.string().min(1).max(64),
  /**
   * True lets an agent that obeyed another incarnation obey this one: the operator accepted the restored database.
   * Otherwise that agent only reports.
   */
  adopt: z.boolean(),
});
export type SessionStart = z.infer<typeof SessionStart>;

export const Ack = z.strictObject({ session: z.int().min(1), seq: z.int().min(0) });
export type Ack = z.infer<typeof Ack>;

const placementFacts = {
  instanceId: InstanceId,
  epoch,
  run: z.int().min(0),
  phase: Phase,
  power: Power,
  exit: ExitInfo.nullable(),
};

const trouble = {
  code: z.string().max(64),
  message: z.string().max(2000),
  remedy: z.string().max(2000).optional(),
};

/** What an agent says; every kind is safe to repeat. */
export const ReportBody = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('placement'),
    ...placementFacts,
    /** The runtime that has it; null before one was chosen. */
    driver: z.string().max(32).nullable().default(null),
    /** Instance generation that it was brought to, but for what `RestartRequired` names; null before the first. */
    revision: z.int().min(1).nullable().default(null),
    /** Disks it has; null while that is not known. */
    volumes: z.array(VolumeSeen).max(128).nullable().default(null),
    /** Nics its machine has, where they change while it runs; null while that is not known. */
    nics: z.array(NicId).max(64).nullable().default(null),
    /** What is in its CD-ROM drives; null while that is not known. */
    cdroms: z.array(CdromSeen).max(CDROMS_MAX).nullable().default(null),
    /** Context id of its vsock device; null while it has none, and in what an agent of before says. */
    vsockCid: VsockCid.nullable().default(null),
    /** Nodes of its host that its own are bound to; null while it is bound to none, and in what an agent of before says. */
    numaHostNodes: z.array(z.int().min(0)).max(numaNodesMost).nullable().default(null),
    /** Users of its host that its own are; null while it has none, and in what an agent of before says. */
    uidRange: UidRange.nullable().default(null),
    /** What it has of its host; null while that is not known. */
    sizes: Sizes.nullable().default(null),
    /** Why it is not where it is wanted, and when the next attempt comes. */
    conditions: z.array(Condition).max(16),
    observedAt: z.iso.datetime(),
    /** How long the parts of this run's start took, all so far. */
    spans: z
      .array(z.strictObject({ name: z.string().max(32), ms: z.number() }))
      .max(64)
      .optional(),
  }),
  z.strictObject({ kind: z.literal('tombstoneDone'), id: z.string() }),
  /** What became of an order on a snapshot. Of one that failed nothing is left; one that is `retrying` goes on. */
  z.strictObject({
    kind: z.literal('snapshot'),
    orderId: OperationId,
    snapshotId: SnapshotId,
    outcome: z.discriminatedUnion('state', [
      z.strictObject({ state: z.literal('done'), taken: SnapshotTaken.nullable() }),
      z.strictObject({ state: z.literal('failed'), ...trouble }),
      z.strictObject({ state: z.literal('retrying'), ...trouble }),
    ]),
  }),
  /** How far an order to clone a volume is. Of one that failed nothing is left; one that is `retrying` begins anew. */
  z.strictObject({
    kind: z.literal('clone'),
    orderId: OperationId,
    outcome: z.discriminatedUnion('state', [
      z.strictObject({ state: z.literal('copying'), percent: z.int().min(0).max(100) }),
      /** `file` of an export. */
      z.strictObject({ state: z.literal('done'), file: ExportedFile.optional() }),
      z.strictObject({ state: z.literal('failed'), ...trouble }),
      z.strictObject({ state: z.literal('retrying'), ...trouble }),
    ]),
  }),
  z.strictObject({ kind: z.literal('imageWanted'), digest: Digest }),
  /** Every blob of this image is here. */
  z.strictObject({ kind: z.literal('imageHeld'), digest: Digest }),
  /** The image was removed, as its tombstone says. */
  z.strictObject({ kind: z.literal('imageRemoved'), digest: Digest }),
  z.strictObject({
    kind: z.literal('host'),
    bootId: z.string(),
    capabilities: Capabilities,
    capacity: Capacity,
  }),
  /** It runs here and no list names it. It keeps running. */
  z.strictObject({ kind: z.literal('unclaimed'), ...placementFacts }),
  /**
   * Parts of an epoch that no journal and no list knows, in which nothing runs: found, and (`sweptAt`) removed after they
   * were found a second time. Never a volume.
   */
  z.strictObject({
    kind: z.literal('orphan'),
    instanceId: InstanceId,
    epoch,
    parts: z.array(z.string().max(300)).max(32),
    foundAt: z.iso.datetime(),
    sweptAt: z.iso.datetime().nullable(),
  }),
  /** An assignment below the highest epoch this host knows was not obeyed. */
  z.strictObject({ kind: z.literal('refusedEpoch'), instanceId: InstanceId, epoch, highest: epoch }),
  /** Images whose blobs are all here, replacing what was known. */
  z.strictObject({ kind: z.literal('inventory'), images: z.array(Digest).max(3_000) }),
]);
export type ReportBody = z.infer<typeof ReportBody>;

/** A numbered line of the report stream. Order is `(session, seq)`. */
export const Report = z.strictObject({ seq: z.int().min(1), body: ReportBody });
export type Report = z.infer<typeof Report>;

/** An action on an instance that is no wanted state: its newest epoch on the host does it at once, or it is refused. */
export const PromptAction = z.discriminatedUnion('verb', [
  z.strictObject({ verb: z.literal('reset') }),
  /** Of what its host holds. */
  z.strictObject({ verb: z.literal('resume') }),
  z.strictObject({ verb: z.literal('freeze'), seconds: z.int().min(1).max(60) }),
  z.strictObject({ verb: z.literal('thaw') }),
]);
export type PromptAction = z.infer<typeof PromptAction>;

/** What a host and its instances used, oldest first. */
export const UsageAnswer = z.strictObject({
  /** The host's clock at the answer, milliseconds: what it differs from the API's is taken out of the samples. */
  now: z.int().min(0),
  samples: z.array(UsageSample).max(1_000),
  /** There is more after the last of these. */
  more: z.boolean(),
});
export type UsageAnswer = z.infer<typeof UsageAnswer>;

/** What one instance uses now: a line of its stream. Its time is the API's at its arrival, since clocks differ. */
export const StatsLine = InstanceStats.omit({ time: true });
export type StatsLine = z.infer<typeof StatsLine>;

const pem = z.string().max(16_384);

export const JoinRequest = z.strictObject({
  protocol: version,
  token: z.string().min(1).max(256),
  /** PKCS #10, PEM. Its public key becomes the host's identity. */
  csr: pem,
  name: Name,
  labels: Labels,
});
export type JoinRequest = z.infer<typeof JoinRequest>;

export const RenewRequest = z.strictObject({
  protocol: version,
  csr: pem,
  /** The last certificate, expired or not; the CSR must be signed by its key. */
  certificate: pem,
});
export type RenewRequest = z.infer<typeof RenewRequest>;

export const JoinAnswer = z.strictObject({ protocol: version, hostId: HostId, certificate: pem, ca: pem });
export type JoinAnswer = z.infer<typeof JoinAnswer>;

/** Body of every refusal on the join door. */
export const JoinProblem = z.strictObject({ code: z.string(), message: z.string() });
