import type {
  Capabilities,
  CdromSeen,
  CdromSpec,
  Capacity,
  Desired,
  Digest,
  ExitInfo,
  HostId,
  HostMount,
  HostSecret,
  HostNetworkSpec,
  DiskFormat,
  DiskSource,
  ExportedFile,
  HostVolume,
  ImageContent,
  ImageKind,
  IsoContent,
  Instance,
  InstanceId,
  InstanceSpec,
  InstanceState,
  Isolation,
  NicId,
  NetworkId,
  Operation,
  OperationId,
  Phase,
  Power,
  ProjectId,
  SecretId,
  Resources,
  Role,
  SnapshotId,
  Sizes,
  SnapshotTaken,
  UidRange,
  Volume,
  VolumeId,
  VolumeSeen,
  Waiting,
} from '@berth/model';

/** A page of a list, ordered by name. `nextCursor` is opaque and null on the last page. */
export interface Page<T> {
  readonly items: readonly T[];
  readonly nextCursor: string | null;
}
export interface PageRequest {
  /** 1 to 1000; 100 when absent. */
  readonly limit?: number;
  readonly cursor?: string;
}

export interface TokenRow {
  readonly id: string;
  readonly name: string;
  /** Null: valid in every project. */
  readonly projectId: ProjectId | null;
  readonly project: string | null;
  readonly role: Role;
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  readonly revokedAt: Date | null;
}
/** A browser that signed in. */
export interface BrowserSessionRow {
  readonly id: string;
  readonly expiresAt: Date;
  /** The token it speaks for. */
  readonly token: TokenRow;
}
export interface RoleBindingRow {
  readonly id: string;
  readonly projectId: ProjectId | null;
  readonly subject: string;
  readonly role: Role;
  readonly createdAt: Date;
}
export interface JoinTokenRow {
  readonly id: string;
  /** The only host name this token admits, or null for any new name. Naming an existing host lets it join again with a new key. */
  readonly hostName: string | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  readonly consumedAt: Date | null;
}

export type SessionOpen =
  | {
      readonly outcome: 'open';
      readonly session: number;
      readonly assignmentRev: number;
      readonly storeIncarnation: string;
    }
  | { readonly outcome: 'refused'; readonly reason: 'unknown' | 'revoked' | 'keyMismatch' | 'fenced' };

/** A host as the scheduler sees it. */
export interface HostSnapshot {
  readonly id: HostId;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly schedulable: boolean;
  readonly state: 'new' | 'ready' | 'silent';
  readonly capabilities: Capabilities | null;
  /** Null until the first capability report: such a host takes nothing. */
  readonly capacity: Capacity | null;
  /** cpu and memory of placements that have not ended; disk of the volumes that live there. */
  readonly used: Capacity;
  /** Ports that its instances publish, as `tcp/8080`. */
  readonly ports: readonly string[];
  /** Digests of images whose blobs are all on the host. */
  readonly images: readonly Digest[];
  /** Owner placements that have not ended. */
  readonly instances: number;
}
export interface PlacementSnapshot {
  /** Names this snapshot in decisions. */
  readonly snapshotId: string;
  readonly at: Date;
  readonly hosts: readonly HostSnapshot[];
}

/** An instance that wants to run and has no placement for its runGeneration. Oldest first. */
/** What a scrape of the metrics counts. */
export interface Figures {
  readonly instances: readonly {
    readonly state: string;
    readonly isolation: string;
    readonly count: number;
  }[];
  readonly pending: readonly { readonly reason: string; readonly count: number }[];
  readonly operations: readonly { readonly kind: string; readonly count: number }[];
  /** Committed events that have no position yet, and the age of the oldest. */
  readonly ledger: { readonly unnumbered: number; readonly lagSeconds: number };
  readonly running: readonly {
    readonly id: InstanceId;
    readonly project: string;
    readonly name: string;
    readonly isolation: Isolation;
  }[];
  /** What belongs to those that are named. A root disk has a name that its user could not give (`web.root`). */
  readonly volumes: readonly {
    readonly id: VolumeId;
    readonly instanceId: InstanceId;
    readonly name: string;
    readonly root: boolean;
  }[];
  readonly nics: readonly {
    readonly id: NicId;
    readonly instanceId: InstanceId;
    readonly network: string;
    readonly mac: string;
  }[];
  readonly pool: { readonly open: number; readonly idle: number; readonly waiting: number };
}

/** What a new instance would stand on. */
export interface SpecOrigin {
  readonly digest: string;
  /** Host of the snapshot that its disk would begin as. */
  readonly hostId: HostId | null;
  readonly ipv6: boolean;
  readonly waitsFor: Waiting | null;
}

export interface PendingInstance {
  readonly id: InstanceId;
  readonly projectId: ProjectId;
  readonly project: string;
  readonly name: string;
  readonly spec: InstanceSpec;
  readonly imageKind: ImageKind;
  readonly imageDigest: Digest;
  /** Of the spec whose room is booked. */
  readonly generation: number;
  readonly runGeneration: number;
  /** What a placement books. `diskMiB` is that of the volumes which are on no host yet. */
  readonly resources: Resources;
  /** Host of its volumes; null while they are on none. A start goes only where they are. */
  readonly volumeHostId: HostId | null;
  /** A nic of it has an IPv6 address. */
  readonly ipv6: boolean;
  /** What of its dependencies is not as it has to be; null when all are. */
  readonly waitsFor: Waiting | null;
  readonly createdAt: Date;
  /** When this run was asked for. */
  readonly waitsSince: Date;
}

export type PlacementCommit =
  | { readonly outcome: 'placed'; readonly epoch: number; readonly assignmentRev: number }
  /** The host no longer has room, is not schedulable or silent: read a new snapshot and decide again. */
  | { readonly outcome: 'full'; readonly reason: string; readonly free: Capacity }
  /** The instance changed, was placed by another, or is being deleted: forget this attempt. */
  | { readonly outcome: 'stale'; readonly reason: string };

export interface AssignmentRow {
  readonly instanceId: InstanceId;
  readonly epoch: number;
  readonly project: string;
  readonly name: string;
  readonly uuid: string;
  readonly generation: number;
  readonly spec: InstanceSpec;
  readonly image: ImageContent;
  readonly wanted: Desired;
  /** Of the stop that is asked for, where that says so; else null, and its spec says it. */
  readonly stopGraceSeconds: number | null;
  readonly rootVolume: {
    readonly id: VolumeId;
    readonly sizeMiB: number;
    readonly source?: DiskSource;
  };
  readonly volumes: readonly HostVolume[];
  readonly mounts: readonly HostMount[];
  /** What it is to have of its host; null in placements of before it was kept. */
  readonly sizes: Sizes | null;
  readonly nics: readonly {
    readonly id: NicId;
    readonly networkId: NetworkId;
    readonly mac: string;
    readonly ipv4: string;
    readonly ipv6?: string;
  }[];
  /** What is to be in its CD-ROM drives. */
  readonly cdroms: readonly (Omit<CdromSpec, 'image'> & { readonly image: IsoContent | null })[];
  /** Without their values. */
  readonly secrets: readonly HostSecret[];
  /** As last reported. */
  readonly phase: Phase;
  readonly run: number;
}
/** A secret with its value in the envelope. */
export interface SealedSecret {
  readonly id: SecretId;
  readonly projectId: ProjectId;
  readonly name: string;
  readonly envelope: string;
  /** Its resourceVersion. */
  readonly version: number;
}
/** What a host is asked of a snapshot, by the operation that asks. */
export interface SnapshotOrderRow {
  readonly id: OperationId;
  readonly state: 'creating' | 'reverting' | 'deleting';
  readonly instanceId: InstanceId;
  readonly snapshotId: SnapshotId;
  /** The root disk first. */
  readonly volumes: readonly VolumeId[];
  /** Whether its guest's memory is part of it. */
  readonly memory: boolean;
}
/** What a host says of such an order. */
export interface SnapshotReport {
  readonly hostId: HostId;
  readonly session: number;
  readonly orderId: OperationId;
  readonly outcome:
    | { readonly state: 'done'; readonly taken: SnapshotTaken | null }
    | {
        readonly state: 'failed' | 'retrying';
        readonly code: string;
        readonly message: string;
        readonly remedy?: string | undefined;
      };
}
/** A volume that a host is asked to make of another one, by the operation that asks. */
export interface CloneOrderRow {
  readonly id: OperationId;
  readonly volumeId: VolumeId;
  readonly sourceId: VolumeId;
  readonly format: DiskFormat;
  readonly sizeMiB: number;
  /** A file is to be made of it, to be downloaded. */
  readonly export?: true;
  /** Of a file: as the other one was in this snapshot. */
  readonly snapshotId?: SnapshotId;
}
/** What a host says of such an order. */
export interface CloneReport {
  readonly hostId: HostId;
  readonly session: number;
  readonly orderId: OperationId;
  readonly outcome:
    | { readonly state: 'copying'; readonly percent: number }
    | { readonly state: 'done'; readonly file?: ExportedFile | undefined }
    | Extract<SnapshotReport['outcome'], { readonly state: 'failed' | 'retrying' }>;
}
/** A mutation of a volume that a host carries out. */
export interface VolumeChange {
  /** Null when it is gone. */
  readonly volume: Volume | null;
  readonly operation: Operation;
  /** Hosts whose assignment list changed: wake their dispatch. */
  readonly hosts: readonly HostId[];
}
/** Explicit order to remove one epoch's leftovers, or a volume. Exactly one of `epoch` and `volumeId` is set. */
export interface TombstoneRow {
  readonly id: string;
  /** Null for a data volume. */
  readonly instanceId: InstanceId | null;
  readonly epoch: number | null;
  readonly volumeId: VolumeId | null;
  /** A data volume that containers had. */
  readonly mounted: boolean;
}
export interface AssignmentList {
  readonly hostId: HostId;
  readonly assignmentRev: number;
  readonly storeIncarnation: string;
  readonly assignments: readonly AssignmentRow[];
  /** Networks of the nics on this host, also of what has stopped; `leases` holds the addresses used on it. */
  readonly networks: readonly HostNetworkSpec[];
  readonly tombstones: readonly TombstoneRow[];
  /** Images to remove from the host: no project has them any more. */
  readonly unusedImages: readonly Digest[];
  readonly snapshots: readonly SnapshotOrderRow[];
  readonly clones: readonly CloneOrderRow[];
}

/** What an agent reports of one placement. */
export interface PlacementReport {
  readonly hostId: HostId;
  /** Session issued by `hostSessionOpen`; only the newest of a host counts. */
  readonly session: number;
  /** Number in the agent's report queue; per placement only a higher (session, seq) counts. */
  readonly seq: number;
  readonly instanceId: InstanceId;
  readonly epoch: number;
  readonly run: number;
  readonly phase: Phase;
  readonly power: Power;
  readonly exit: ExitInfo | null;
  /** The runtime that has it; null before one was chosen. */
  readonly driver?: string | null;
  /** Generation that it was brought to, but for what `RestartRequired` names. */
  readonly revision?: number | null;
  /** Disks it has, and their sizes; null while that is not known. */
  readonly volumes?: readonly VolumeSeen[] | null;
  /** Nics that its machine has, where they change while it runs; null while that is not known. */
  readonly nics?: readonly NicId[] | null;
  /** What is in its CD-ROM drives; null while that is not known. */
  readonly cdroms?: readonly CdromSeen[] | null;
  /** Context id of its vsock device; null while it has none. */
  readonly vsockCid?: number | null;
  /** Nodes of its host that its own are bound to; null while it is bound to none. */
  readonly numaHostNodes?: readonly number[] | null;
  /** Users of its host that its own are; null while that is not known. */
  readonly uidRange?: UidRange | null;
  /** What it has of its host; null while that is not known. */
  readonly sizes?: Sizes | null;
  readonly conditions?: readonly {
    readonly type: string;
    readonly reason: string;
    readonly message: string;
    readonly remedy?: string;
  }[];
  readonly observedAt: Date;
}
export type ReportOutcome =
  | {
      readonly outcome: 'applied';
      readonly state: InstanceState;
      /** The placement ended, or has less than before: capacity is free, wake the scheduler. */
      readonly freed: boolean;
      /** A start waits for this instance: wake the scheduler, too. */
      readonly awaited: boolean;
      /** Tombstones were written for this host, or wanted changed: send its list again. */
      readonly assignmentsChanged: boolean;
    }
  | { readonly outcome: 'stale'; readonly reason: 'session' | 'seq' | 'epoch' | 'order' };

export interface InstanceChange {
  readonly instance: Instance;
  readonly operation: Operation;
  /** Hosts whose assignment list changed: wake their dispatch. */
  readonly hosts: readonly HostId[];
}

/** What an update would change. */
export interface UpdatePreview {
  readonly was: { readonly spec: InstanceSpec; readonly labels: Readonly<Record<string, string>> };
  readonly wanted: { readonly spec: InstanceSpec; readonly labels: Readonly<Record<string, string>> };
  /** It runs, or is about to. */
  readonly runs: boolean;
  /** What that is to have; null where nothing runs. */
  readonly has: Sizes | null;
}

export interface InstanceFilter extends PageRequest {
  /** Null: every project (the caller may see all). */
  readonly projectId: ProjectId | null;
  readonly labels?: Readonly<Record<string, string>>;
  readonly state?: InstanceState;
  /** Host name. */
  readonly host?: string;
  readonly isolation?: Isolation;
  /** Part of the name. */
  readonly search?: string;
}
export interface InstanceCount {
  readonly state: InstanceState;
  readonly isolation: Isolation;
  readonly count: number;
}
export interface RevisionRow {
  readonly generation: number;
  readonly spec: InstanceSpec;
  readonly labels: Readonly<Record<string, string>>;
  readonly actor: string;
  readonly at: Date;
}

/** An import as it is asked for: by URL, from a registry, of what a container changed; or a push, of the image that it names. */
export interface ImageImportDraft {
  readonly projectId: ProjectId;
  readonly imageId: string;
  readonly name: string;
  readonly kind: ImageKind;
  readonly transport: 'url' | 'registry' | 'commit' | 'push';
  /** What is needed to get it, sealed with the master key: an address may carry a signature, a reference comes with a password. */
  readonly envelope: string;
  /** Address, reference or instance as events and people see it. */
  readonly source: string;
  /** Of the file as it is downloaded, hex; null: anything is taken. */
  readonly sha256: string | null;
  readonly deadlineSeconds: number;
}
/** One that is under way, with who asked. */
export interface ImageImportRow extends Omit<ImageImportDraft, 'deadlineSeconds'> {
  readonly operationId: OperationId;
  readonly project: string;
  readonly actor: string;
  readonly traceId: string;
}

/** A repository, and what of an image it is said to have. */
export interface ImagePlaceRow {
  readonly repository: string;
  readonly digests: readonly Digest[];
}

/** What a ticket opens, where, and who asked for it. */
export interface TerminalTicketRow {
  readonly tokenId: string;
  /** The browser session that asked; null for a token. */
  readonly sessionId: string | null;
  readonly instanceId: InstanceId;
  /** What it opens, sealed with the master key. */
  readonly envelope: string;
}

export type IdempotencyBegin =
  /** The key is new and now held: do the work, then `idempotencyComplete` or `idempotencyAbandon`. */
  | { readonly outcome: 'begun' }
  | {
      readonly outcome: 'replay';
      readonly status: number;
      readonly answer: unknown;
      readonly headers: Readonly<Record<string, string>>;
    }
  /** The work was committed but the answer never stored (a crash): rebuild the answer from the operation. */
  | { readonly outcome: 'committed'; readonly operationId: string }
  | { readonly outcome: 'mismatch' }
  | { readonly outcome: 'inProgress' };

/** CA key and certificate. The key is enveloped with the master key before it comes here. */
export interface CaMaterial {
  readonly certificatePem: string;
  readonly keyEnvelope: string;
}
interface InstanceStop {
  readonly projectId: ProjectId;
  readonly name: string;
  readonly deadlineSeconds: number;
  /** Instead of what the spec says of a stop: the newest that is asked for counts, also for a stop under way. */
  readonly graceSeconds?: number;
  readonly ifMatch?: number;
}
/** Of the verbs, only `stop` and `restart` have a time of grace. */
export interface InstanceAct extends InstanceStop {
  readonly verb: Verb;
}
export type InstanceDelete = InstanceStop;

export type Verb = 'start' | 'stop' | 'restart' | 'pause' | 'resume' | 'suspend';
