import type {
  Capabilities,
  Capacity,
  Decision,
  DecisionId,
  Digest,
  Event,
  EventClass,
  EventObjectKind,
  Host,
  HostId,
  Image,
  ImageContent,
  ImageSources,
  Instance,
  InstanceCreate,
  InstanceId,
  InstanceSpec,
  Network,
  NetworkCreate,
  Operation,
  OperationId,
  Project,
  ProjectId,
  RegistryCredential,
  Secret,
  SecretId,
  Snapshot,
  SecurityGroup,
  SecurityRule,
  Volume,
  VolumeCreate,
  VolumeUpdate,
  Waiting,
} from '@berth/model';
import type { AccessStore, BrowserSessionStore, TerminalTicketStore } from './access-store.js';
import type { KeptAnswer, RequestContext } from './context.js';
import type { InstanceUpdate } from './instance-change.js';
import type * as rows from './rows.js';
import type { SnapshotTarget } from './snapshots.js';
import type { CloneRequest } from './volume-clones.js';
import type { ExportRequest } from './volume-exports.js';

/*
 * The one door to Postgres. Resources come back in the shapes of libs/model; what has no model shape is in rows.ts.
 * Every writer is one transaction, guarded, and says whether a row changed. Expected refusals are BerthError
 * (nameTaken, notFound, inUse, invalid, preconditionFailed, stateConflict …); a lost database is `unavailable`.
 * "ctx" is who asks. A reader that finds nothing returns null.
 */

export interface ProjectStore {
  /** With its `default` network (a /24 of the configured supernet, never overlapping another) and the `default` pool. @throws nameTaken, unavailable (supernet used up) */
  projectCreate(ctx: RequestContext, project: { name: string }): Promise<Project & { id: ProjectId }>;
  projectList(): Promise<readonly (Project & { id: ProjectId })[]>;
  projectGet(name: string): Promise<(Project & { id: ProjectId }) | null>;
  /** Changes what is named, keeps the rest. `ifMatch` is a resourceVersion. @throws notFound, preconditionFailed */
  projectUpdate(
    ctx: RequestContext,
    name: string,
    change: { imageSources: Partial<ImageSources>; ifMatch?: number },
  ): Promise<Project & { id: ProjectId }>;
}

export interface NetworkStore {
  networkList(projectId: ProjectId): Promise<readonly Network[]>;
  networkGet(projectId: ProjectId, name: string): Promise<Network | null>;
  /**
   * Its subnet overlaps that of no other network of any project, and is within the supernet unless `anyRange`.
   * @throws nameTaken, conflict (it would), forbidden (it is not), unavailable (supernet used up)
   */
  networkCreate(
    ctx: RequestContext,
    create: { projectId: ProjectId; body: NetworkCreate; anyRange: boolean },
  ): Promise<Network>;
  /** @throws notFound, preconditionFailed, inUse (names the instances) */
  networkDelete(
    ctx: RequestContext,
    target: { projectId: ProjectId; name: string; ifMatch?: number },
  ): Promise<void>;
}

export interface SecurityGroupStore {
  securityGroupList(projectId: ProjectId): Promise<readonly SecurityGroup[]>;
  securityGroupGet(projectId: ProjectId, name: string): Promise<SecurityGroup | null>;
  /** Makes it, or replaces its rules; `hosts` have instances in it. @throws preconditionFailed, notFound (`ifMatch` of none), invalid (a rule names no group) */
  securityGroupPut(
    ctx: RequestContext,
    put: { projectId: ProjectId; name: string; ifMatch?: number; rules: readonly SecurityRule[] },
  ): Promise<{ readonly group: SecurityGroup; readonly hosts: readonly HostId[] }>;
  /** @throws notFound, preconditionFailed, inUse */
  securityGroupDelete(
    ctx: RequestContext,
    target: { projectId: ProjectId; name: string; ifMatch?: number },
  ): Promise<void>;
}

/** What projects sign in with at registries. A host is as references name it, see {@link registryHost}. */
export interface RegistryStore {
  registryCredentialList(projectId: ProjectId): Promise<readonly RegistryCredential[]>;
  registryCredentialGet(projectId: ProjectId, host: string): Promise<RegistryCredential | null>;
  /** The sealed secret; null where the project keeps none for the host. */
  registryCredentialEnvelope(projectId: ProjectId, host: string): Promise<string | null>;
  /** Keeps it, in place of what was kept. @throws preconditionFailed, notFound (`ifMatch` of none) */
  registryCredentialPut(
    ctx: RequestContext,
    put: { projectId: ProjectId; host: string; ifMatch?: number } & Pick<
      RegistryCredential,
      'kind' | 'username'
    > & { envelope: string },
  ): Promise<RegistryCredential>;
  /** @throws notFound, preconditionFailed */
  registryCredentialDelete(
    ctx: RequestContext,
    target: { projectId: ProjectId; host: string; ifMatch?: number },
  ): Promise<void>;
}

/** Secrets of projects: what is read of them has no value, but for hosts. */
export interface SecretStore {
  secretList(projectId: ProjectId): Promise<readonly Secret[]>;
  secretGet(projectId: ProjectId, name: string): Promise<Secret | null>;
  /** Envelopes, for the hosts that have them. */
  secretsSealed(ids: readonly SecretId[]): Promise<readonly rows.SealedSecret[]>;
  /**
   * Makes it, or gives it a new value; `hosts` have instances that use it.
   * @throws preconditionFailed, notFound (`ifMatch` of none), invalid (no text, and a variable somewhere)
   */
  secretPut(
    ctx: RequestContext,
    put: { projectId: ProjectId; name: string; ifMatch?: number; envelope: string; isText: boolean },
  ): Promise<{ readonly secret: Secret; readonly hosts: readonly HostId[] }>;
  /** @throws notFound, preconditionFailed, inUse (names the instances) */
  secretDelete(
    ctx: RequestContext,
    target: { projectId: ProjectId; name: string; ifMatch?: number },
  ): Promise<void>;
}

export interface VolumeStore {
  volumeList(projectId: ProjectId): Promise<readonly Volume[]>;
  /** By its name or its id. */
  volumeGet(projectId: ProjectId, ref: string): Promise<Volume | null>;
  /**
   * A data volume: on no host yet, or on that of its source, whose snapshot stays until it is made there.
   * @throws nameTaken, invalid, stateConflict, unsupported, noRoom
   */
  volumeCreate(ctx: RequestContext, create: { projectId: ProjectId; body: VolumeCreate }): Promise<Volume>;
  /** Room for what it grows by is booked on its host. @throws notFound, preconditionFailed, conflict, stateConflict, invalid, noRoom */
  volumeUpdate(
    ctx: RequestContext,
    update: { projectId: ProjectId; ref: string; ifMatch?: number; update: VolumeUpdate },
  ): Promise<{ readonly volume: Volume; readonly hosts: readonly HostId[] }>;
  /**
   * A new volume that holds what a data volume holds which nothing writes: it is detached, or its instance does not run. Its host
   * copies it, on booked room; one that is on no host is empty, and so is the new one.
   * @throws notFound, preconditionFailed, nameTaken, conflict (no data volume), stateConflict, unsupported, unavailable (host silent), noRoom
   */
  volumeClone(ctx: RequestContext, request: CloneRequest): Promise<rows.VolumeChange>;
  /**
   * A volume of kind `export` for a file of what a data volume holds: its host makes it, on booked room. As it is, of one that nothing
   * writes, as for a clone; or as it was in a snapshot, which stays until then.
   * @throws as `volumeClone`, invalid (no such snapshot, or without the volume), stateConflict (it holds nothing yet)
   */
  volumeExport(ctx: RequestContext, request: ExportRequest): Promise<rows.VolumeChange>;
  /** `volume` is null when it is gone at once; else its host is told to remove it. @throws notFound, preconditionFailed, conflict, inUse */
  volumeDelete(
    ctx: RequestContext,
    target: { projectId: ProjectId; ref: string; ifMatch?: number },
  ): Promise<{ readonly volume: Volume | null; readonly hosts: readonly HostId[] }>;
}

export interface SnapshotStore {
  /** Of one instance, the oldest first. */
  snapshotList(projectId: ProjectId, instance: string): Promise<readonly Snapshot[]>;
  snapshotGet(projectId: ProjectId, instance: string, name: string): Promise<Snapshot | null>;
  /**
   * Asks the instance's host for a snapshot of all its disks; as much room is booked as they have. @throws notFound, nameTaken,
   * stateConflict (deleting, reverting, no disk yet), unsupported (a raw or read-only disk), noRoom, conflict (too many), unavailable (host silent)
   */
  snapshotCreate(ctx: RequestContext, create: Omit<SnapshotTarget, 'ifMatch'>): Promise<rows.InstanceChange>;
  /** Nothing runs from the disks until the host has brought them back. @throws notFound, preconditionFailed, stateConflict (it runs, or something is under way) */
  snapshotRevert(ctx: RequestContext, target: SnapshotTarget): Promise<rows.InstanceChange>;
  /** @throws notFound, preconditionFailed, stateConflict (reverting) */
  snapshotDelete(ctx: RequestContext, target: SnapshotTarget): Promise<rows.InstanceChange>;
}

export interface HostStore {
  /**
   * Consumes a join token and inserts the host, in one transaction. The same token with the same key again (the answer
   * was lost) returns the same host. @throws unauthenticated (unknown, used, expired token), nameTaken
   */
  hostJoin(join: {
    joinTokenHash: string;
    name: string;
    keyFingerprint: string;
    traceId: string;
  }): Promise<Host>;
  hostList(): Promise<readonly Host[]>;
  hostGet(name: string): Promise<Host | null>;
  hostById(id: HostId): Promise<Host | null>;
  /** Checked at each handshake and renewal; this is revocation. */
  hostAdmit(id: HostId, keyFingerprint: string): Promise<'admitted' | 'unknown' | 'revoked' | 'keyMismatch'>;
  /** The key of a renewed certificate; guarded by the key known until now. */
  hostKeySet(id: HostId, knownFingerprint: string, keyFingerprint: string): Promise<boolean>;
  /** Opens the newest session of a host; every older one is stale from here on. */
  hostSessionOpen(open: {
    hostId: HostId;
    keyFingerprint: string;
    bootId: string;
    agentVersion: string;
  }): Promise<rows.SessionOpen>;
  /** Heartbeat. `changed` is false when the session is not the newest; `back` when the host was silent until now. */
  hostSeen(hostId: HostId, session: number): Promise<{ changed: boolean; back: boolean }>;
  /** By how many milliseconds its clock is ahead of the API's, behind below zero. False when the session is stale, or knew it. */
  hostClockSet(hostId: HostId, session: number, aheadMs: number): Promise<boolean>;
  /** Writes what the agent probed and the capacity the scheduler may book. False when the session is stale. */
  hostCapabilitiesSet(
    hostId: HostId,
    session: number,
    capabilities: Capabilities,
    capacity: Capacity,
  ): Promise<boolean>;
  /** `ifMatch` is a resourceVersion. @throws notFound, preconditionFailed */
  hostUpdate(
    ctx: RequestContext,
    name: string,
    change: { labels?: Record<string, string>; schedulable?: boolean; ifMatch?: number },
  ): Promise<Host>;
  /** @throws notFound, inUse (placements that have not ended, or volumes) */
  hostRemove(ctx: RequestContext, name: string): Promise<void>;
  /** The host is refused at its next handshake. @throws notFound */
  hostRevoke(ctx: RequestContext, name: string): Promise<Host>;
  /**
   * Records proof that one boot of a host can no longer run or write: its sessions are refused from now on and its
   * placements end with `closed_by = fence`. @throws notFound, stateConflict (the boot is not the host's last one)
   */
  fenceRecord(
    ctx: RequestContext,
    fence: { hostId: HostId; bootId: string; method: string; evidence: Record<string, unknown> },
  ): Promise<{ placementsClosed: number }>;
}

export interface ImageStore {
  /** @throws nameTaken */
  imageInsert(
    ctx: RequestContext,
    image: { projectId: ProjectId; name: string; content: ImageContent },
  ): Promise<Image>;
  /**
   * The same at the end of an import, whose operation succeeds with it and has the image's id. `source` says where it came
   * from. @throws nameTaken, stateConflict (the operation is over)
   */
  imageImported(
    ctx: RequestContext,
    image: {
      projectId: ProjectId;
      name: string;
      content: ImageContent;
      operationId: OperationId;
      source?: string;
    },
  ): Promise<{ operation: Operation; image: Image }>;
  /** What an instance is made of; null when it is gone. */
  imageOfInstance(instanceId: InstanceId): Promise<ImageContent | null>;
  /** Records an import, which this process is to do, with its operation. @throws nameTaken */
  imageImportBegin(ctx: RequestContext, draft: rows.ImageImportDraft): Promise<Operation>;
  /** Makes the imports under way that nobody does, or this process does already, its own. */
  imageImportsClaim(): Promise<readonly rows.ImageImportRow[]>;
  /** Forgets the addresses of imports that are over; returns how many. */
  imageImportsTrim(): Promise<number>;
  /** Remembers that a repository has an image: it came from there, or was pushed there. Forgotten with the image. */
  imagePlaceKeep(
    imageId: string,
    place: { readonly registry: string; readonly repository: string },
  ): Promise<void>;
  /** Repositories of a registry that are said to have some of these blobs, by images of this project alone; the likeliest first. */
  imagePlaces(
    projectId: ProjectId,
    registry: string,
    digests: readonly Digest[],
  ): Promise<readonly rows.ImagePlaceRow[]>;
  /** Gives an image another name, with an id of its own. @throws notFound, nameTaken */
  imageTag(ctx: RequestContext, projectId: ProjectId, name: string, as: string): Promise<Image>;
  imageGet(projectId: ProjectId, name: string): Promise<Image | null>;
  imageList(projectId: ProjectId, page?: rows.PageRequest): Promise<rows.Page<Image>>;
  /** Resolves with the hosts that hold its content. @throws notFound, inUse (names the instances) */
  imageDelete(ctx: RequestContext, projectId: ProjectId, name: string): Promise<readonly HostId[]>;
  /** Every blob any image refers to; what is not here may be collected from the upload store. */
  imageBlobs(): Promise<ReadonlySet<Digest>>;
  /** Whether a host has an assignment or held image that needs this blob: only then may it be pushed there. */
  imageBlobWanted(hostId: HostId, digest: Digest): Promise<boolean>;
  /** Hosts that hold images which no project has any more. */
  hostsWithUnusedImages(): Promise<readonly HostId[]>;
  /** Hosts that hold every blob of some image with this blob. */
  imageBlobHolders(digest: Digest): Promise<readonly HostId[]>;
  /** A host's inventory of complete images replaces what was known. False when the session is stale. */
  hostImagesSet(hostId: HostId, session: number, digests: readonly Digest[]): Promise<boolean>;
  hostImageAdd(hostId: HostId, session: number, digest: Digest): Promise<boolean>;
  hostImageRemove(hostId: HostId, session: number, digest: Digest): Promise<boolean>;
}

export interface InstanceStore {
  /**
   * What a new instance would stand on: the digest of its image, the host of the snapshot that its disk begins as, whether a network of it
   * has IPv6, and what it would wait for.
   * @throws invalid (unknown; its kind does not fit the isolation; disk too small), stateConflict, unsupported
   */
  originForSpec(projectId: ProjectId, spec: InstanceSpec): Promise<rows.SpecOrigin>;
  /**
   * Writes spec, revision, root volume, nics with MAC and address, operation and events.
   * @throws nameTaken, invalid (image, network, pool, snapshot unknown; image kind does not fit the isolation; disk too small),
   * unavailable (subnet full), stateConflict (the snapshot is not ready), unsupported, noRoom
   */
  instanceCreate(
    ctx: RequestContext,
    create: { projectId: ProjectId; body: InstanceCreate; deadlineSeconds: number },
  ): Promise<rows.InstanceChange>;
  /**
   * Replaces spec (all but `desired`, `isolation`, `image`, which are refused; networks of `nics` only while no host has it) and labels. What runs is
   * brought to it by its host, as far as that can be done while it runs; the operation tells when. @throws notFound, preconditionFailed, stateConflict (deleting), invalid
   */
  instanceUpdate(ctx: RequestContext, update: InstanceUpdate): Promise<rows.InstanceChange>;
  /** What `instanceUpdate` would do, and all its refusals; nothing is changed. */
  instanceUpdatePreview(ctx: RequestContext, update: InstanceUpdate): Promise<rows.UpdatePreview>;
  /**
   * start, stop, restart, pause, resume, suspend. Supersedes an operation under way. A wish that is already met answers with an
   * operation that succeeded. @throws notFound, preconditionFailed, stateConflict (deleting; pause, resume or suspend of what does not run; pause or restart of
   * what is suspended)
   */
  instanceAct(ctx: RequestContext, act: rows.InstanceAct): Promise<rows.InstanceChange>;
  /**
   * A new root disk, of the image it has or of another: what is on the old one is lost, all else stays. What is wanted running begins a
   * new run. @throws notFound, preconditionFailed, invalid, stateConflict (deleting, suspended, about to stop)
   */
  instanceRebuild(
    ctx: RequestContext,
    rebuild: {
      projectId: ProjectId;
      name: string;
      image?: string;
      deadlineSeconds: number;
      ifMatch?: number;
    },
  ): Promise<rows.InstanceChange>;
  /** Marks for deletion; what was never placed goes at once. @throws notFound, preconditionFailed */
  instanceDelete(
    ctx: RequestContext,
    del: rows.InstanceDelete,
  ): Promise<{ operation: Operation; gone: boolean; hosts: readonly HostId[] }>;
  instanceGet(projectId: ProjectId, name: string): Promise<Instance | null>;
  instanceById(id: InstanceId): Promise<Instance | null>;
  instanceList(filter: rows.InstanceFilter): Promise<rows.Page<Instance>>;
  /** By state and isolation; what there is none of is left out. */
  instanceCounts(projectId: ProjectId): Promise<readonly rows.InstanceCount[]>;
  /** Newest first. */
  instanceRevisions(id: InstanceId): Promise<readonly rows.RevisionRow[]>;
}

export interface PlacementStore {
  snapshotRead(): Promise<rows.PlacementSnapshot>;
  /** What a start of the instance would wait for now; null for nothing. */
  instanceWaits(id: InstanceId): Promise<Waiting | null>;
  /** Waiting longest first. */
  pendingInstances(limit: number): Promise<readonly rows.PendingInstance[]>;
  /** One instance as `pendingInstances` gives it, or null when it waits for nothing. */
  pendingInstance(id: InstanceId): Promise<rows.PendingInstance | null>;
  /**
   * Locks the host's capacity, looks again, then books: placement, decision, root volume's host, assignment_rev, event.
   * Books what the *stored* spec says; `runGeneration` guards against a spec changed since.
   */
  placementCommit(commit: {
    instanceId: InstanceId;
    hostId: HostId;
    runGeneration: number;
    decision: Decision;
  }): Promise<rows.PlacementCommit>;
  /** Stores why an instance waits. The same reasons again only move `at` of the stored row; returns the row's id. */
  decisionInsert(decision: Decision): Promise<DecisionId>;
  decisionGet(id: DecisionId): Promise<Decision | null>;
  /** Newest first. */
  decisionList(instanceId: InstanceId, limit?: number): Promise<readonly Decision[]>;
}

export interface DispatchStore {
  /**
   * Marks every placement of the host as offered, commits, and returns the whole list. Call it before the first byte
   * goes out: a placement never offered may be withdrawn without a fence. Null when the host is gone.
   */
  assignmentsOffer(hostId: HostId): Promise<rows.AssignmentList | null>;
  /** The same list without marking. */
  assignmentsRead(hostId: HostId): Promise<rows.AssignmentList | null>;
  /** One guarded transaction; a repeated report is `stale` and may be acknowledged. */
  reportApply(report: rows.PlacementReport): Promise<rows.ReportOutcome>;
  /** The agent refused an epoch as too low: the placement ends and the next epoch is above `highestKnown`. */
  epochRefused(refusal: {
    hostId: HostId;
    session: number;
    instanceId: InstanceId;
    epoch: number;
    highestKnown: number;
  }): Promise<boolean>;
  /** `gone`: this was the last one, the instance's row, names and addresses are free. */
  tombstoneDone(
    hostId: HostId,
    session: number,
    tombstoneId: string,
  ): Promise<{ changed: boolean; gone: boolean }>;
  /** `changed`: the order is over, the list is another one. `freed`: disk room became free. */
  snapshotReport(report: rows.SnapshotReport): Promise<{ changed: boolean; freed: boolean }>;
  /** The same of an order to clone or export a volume. */
  cloneReport(report: rows.CloneReport): Promise<{ changed: boolean; freed: boolean }>;
}

export interface ReconcileStore {
  /** Fails operations past their deadline. Never touches what was observed. */
  operationsExpire(): Promise<readonly Operation[]>;
  /** Marks hosts unheard for `graceMs` as silent; their instances become `unknown`. */
  hostsSilentMark(graceMs: number): Promise<readonly HostId[]>;
  /** Withdraws placements never offered to hosts that are silent, so that they can be placed elsewhere. */
  placementsWithdraw(): Promise<readonly InstanceId[]>;
  /** Moves deletions on (tombstones, final removal) that a lost wake-up left; returns hosts whose list changed. */
  deletionsAdvance(): Promise<readonly HostId[]>;
  /** Asks for snapshots that are due by schedule, and for the removal of those beyond what is kept; returns hosts whose list changed. */
  snapshotSchedulesAdvance(): Promise<readonly HostId[]>;
  /** Deletes exports that were kept long enough; returns hosts whose list changed. */
  exportsExpire(): Promise<readonly HostId[]>;
  /** Drops expired idempotency keys; returns how many. */
  idempotencyTrim(): Promise<number>;
  /** Drops all but each host's newest `keep` sessions; returns how many. */
  hostSessionsTrim(keep: number): Promise<number>;
  /** Drops browser sessions and sign-in codes that are over; returns how many. */
  browserSessionsTrim(): Promise<number>;
}

export interface OperationStore {
  /** Null project: any (the caller may see all). */
  operationGet(projectId: ProjectId | null, id: OperationId): Promise<Operation | null>;
  /** Newest first. */
  operationList(
    filter: rows.PageRequest & {
      projectId: ProjectId | null;
      state?: Operation['state'];
      targetId?: string;
    },
  ): Promise<rows.Page<Operation>>;
  /** For work that is no wanted state (image import, reset). Starts in `running`. */
  operationStart(
    ctx: RequestContext,
    op: {
      projectId: ProjectId;
      kind: Operation['kind'];
      target: Operation['target'];
      deadlineSeconds: number;
    },
  ): Promise<Operation>;
  /** A step with the name of the newest one takes its place. False when the operation is over. */
  operationStep(
    id: OperationId,
    step: { name: string; message?: string; progress?: number },
  ): Promise<boolean>;
  /** False when it was over already. */
  operationFinish(id: OperationId, error: Operation['error']): Promise<boolean>;
}

export interface IdempotencyStore {
  /** `scope` names actor and route; `requestHash` covers method, path and body. A key held longer than `leaseSeconds` by a dead process is taken over. */
  idempotencyBegin(begin: {
    scope: string;
    key: string;
    requestHash: string;
    leaseSeconds: number;
    ttlSeconds: number;
  }): Promise<rows.IdempotencyBegin>;
  /** Keeps an answer, unless one is kept: resolves with the one that is. */
  idempotencyComplete(done: { scope: string; key: string } & KeptAnswer): Promise<KeptAnswer>;
  /** Nothing was done: the key may be used again. */
  idempotencyAbandon(scope: string, key: string): Promise<boolean>;
}

/** What a reader of the ledger asks for. Absent fields do not filter. */
export interface EventFilter {
  readonly project?: string;
  readonly classes?: readonly EventClass[];
  readonly objectKind?: string;
  readonly objectId?: string;
}
/** Some events in order, and how far the ledger was looked through for them. */
export interface EventPage {
  readonly events: readonly Event[];
  /** Position to go on from: of the last event of a full page, else the head at that moment. */
  readonly through: string;
}
export interface EventStore {
  /** Records an event that belongs to no other writer. */
  eventInsert(ctx: RequestContext, event: EventDraft): Promise<void>;
  /** Numbers committed rows; returns the head. Only the ledger calls it. */
  eventsNumber(): Promise<{ numbered: number; head: string }>;
  /**
   * Rows after `cursor`, in order; with null, from the first that is kept. @throws gone when rows after the cursor were
   * trimmed, or the cursor is of a ledger that was lost; invalid when it is no position
   */
  eventsRead(cursor: string | null, limit: number, filter?: EventFilter): Promise<EventPage>;
  /** Position of the newest numbered event. @throws as {@link EventStore.eventsRead} would for this cursor */
  eventsCheck(cursor: string | null, filter?: EventFilter): Promise<string>;
  /** Drops lifecycle and observation events older than `before`; audit stays. Returns how many went. */
  eventsTrim(before: Date): Promise<number>;
  /** Calls back after each commit of this process that wrote events. Returns the unsubscribe. */
  onCommit(listener: () => void): () => void;
  /**
   * One dedicated LISTEN connection that reconnects: `heard` gets the head that some process numbered up to, and null after
   * each connect, when some may have been missed. Ends with the signal.
   */
  ledgerListen(heard: (head: string | null) => void, signal: AbortSignal): Promise<void>;
}
export interface EventDraft {
  readonly class: EventClass;
  readonly type: string;
  readonly projectId: ProjectId | null;
  readonly object: { readonly kind: EventObjectKind; readonly id: string; readonly name: string };
  readonly operationId?: string | null;
  readonly data?: Record<string, unknown>;
}

export interface MetaStore {
  /** Changes when the database was restored into another cluster. */
  storeIncarnation(): Promise<string>;
  caGet(): Promise<rows.CaMaterial | null>;
  /** The first caller wins; everyone gets the winner's material. */
  caInit(material: rows.CaMaterial): Promise<rows.CaMaterial>;
  /** Whether the database answers and its schema is the one of this release; for /readyz. @throws unavailable */
  ping(): Promise<void>;
  /** Counts for the metrics; at most `named` running instances are named. */
  figuresRead(named: number): Promise<rows.Figures>;
}

export interface Store
  extends
    ProjectStore,
    NetworkStore,
    SecurityGroupStore,
    RegistryStore,
    SecretStore,
    VolumeStore,
    SnapshotStore,
    AccessStore,
    BrowserSessionStore,
    TerminalTicketStore,
    HostStore,
    ImageStore,
    InstanceStore,
    PlacementStore,
    DispatchStore,
    ReconcileStore,
    OperationStore,
    IdempotencyStore,
    EventStore,
    MetaStore {
  close(): Promise<void>;
}
export type * from './access-store.js';
export type * from './rows.js';
export type { SnapshotTarget } from './snapshots.js';
export type { Clock, IdSource, KeptAnswer, RequestContext } from './context.js';
