import type {
  AttachOpen,
  Capabilities,
  CdromBus,
  CdromSeen,
  CloudInitSeed,
  CloudInitSpec,
  Condition,
  ConsoleOpen,
  ContainerResources,
  ContainerSecurity,
  DiskFormat,
  DiskSource,
  ExecOpen,
  ExitInfo,
  FileTarget,
  FirmwareSpec,
  GuestDns,
  HugePageSize,
  GuestInfo,
  HostMount,
  HostNetworkSpec,
  HostSecret,
  HostVolume,
  ImageContent,
  InstanceId,
  InstanceProcesses,
  IsoContent,
  Isolation,
  KeyPress,
  LayerChanges,
  NetworkId,
  NicId,
  NumaSpec,
  Phase,
  Power,
  ProcessSpec,
  ExportedFile,
  ResourceField,
  RestartPolicy,
  SizeField,
  Sizes,
  SnapshotId,
  SnapshotTaken,
  Usage,
  TerminalEnd,
  TerminalSize,
  UidRange,
  VolumeId,
  VolumeSeen,
  WatchdogAction,
  HostPathUse,
} from '@berth/model';

import type { Stopwatch } from './stopwatch.js';

/** One incarnation of an instance on a host. Everything a runtime makes on the host carries both. */
export interface WorkloadKey {
  readonly instanceId: InstanceId;
  readonly epoch: number;
}

/** A key as text, for maps and messages. */
export const keyText = ({ instanceId, epoch }: WorkloadKey): string => `${instanceId}/${epoch}`;

/** A resolved nic: MAC and address come from IPAM and stay for the instance's life. */
export interface WorkloadNic {
  readonly id: NicId;
  readonly networkId: NetworkId;
  readonly mac: string;
  readonly ipv4: string;
  /** Absent where its network has no IPv6. */
  readonly ipv6?: string | undefined;
}

/** A CD-ROM drive, and what is to be in it. */
export interface WorkloadCdrom {
  readonly image: IsoContent | null;
  readonly bus: CdromBus;
  readonly bootFirst: boolean;
  /** A medium is taken out of it without its guest's consent. */
  readonly force: boolean;
}

/** A secret that a container has. */
export interface WorkloadSecret extends HostSecret {
  /** In memory alone, never in a journal; absent while nobody told it, and then the runtime may have it of an earlier call. */
  readonly value?: Uint8Array | undefined;
}

/** All a runtime must know to run a workload; plain data, stored in the agent's journal. */
export interface WorkloadSpec extends WorkloadKey {
  readonly project: string;
  /** Host name inside the guest. */
  readonly name: string;
  /** SMBIOS UUID, for life. */
  readonly uuid: string;
  readonly isolation: Isolation;
  readonly image: ImageContent;
  readonly vcpus: number;
  /** Of a VM: it can have up to so many while it runs, and boots with the lesser of them; absent where it keeps those it has. */
  readonly maxVcpus?: number | undefined;
  readonly minVcpus?: number | undefined;
  /** CPU cap in thousandths of a processor, or null for no cap. */
  readonly cpuMillis: number | null;
  readonly memoryMiB: number;
  /** Of a VM: it can have up to so much while it runs, and boots with the lesser of them; absent where it keeps what it has. */
  readonly maxMemoryMiB?: number | undefined;
  readonly minMemoryMiB?: number | undefined;
  readonly rootVolume: {
    readonly id: VolumeId;
    readonly sizeMiB: number;
    /** What it begins as, instead of the image. */
    readonly source?: DiskSource | undefined;
  };
  /** Disks beside the root disk, which outlive the instance. */
  readonly volumes: readonly HostVolume[];
  /** Data volumes of a container, at their paths; none when absent. */
  readonly mounts?: readonly HostMount[] | undefined;
  /** CD-ROM drives of a VM; none when absent. */
  readonly cdroms?: readonly WorkloadCdrom[] | undefined;
  readonly nics: readonly WorkloadNic[];
  readonly networks: readonly HostNetworkSpec[];
  readonly process: ProcessSpec | null;
  readonly userData: string | null;
  /** Who may sign in, where its image has cloud-init. */
  readonly cloudInit?: CloudInitSpec | undefined;
  /** What starts it; BIOS when absent. */
  readonly firmware?: FirmwareSpec | undefined;
  /** What processor its guest sees; its host's choice when absent. */
  readonly cpuModel?: string | undefined;
  /** Whether it has a TPM 2.0. */
  readonly tpm?: true | undefined;
  /** Its memory is in huge pages of this size; in ordinary ones when absent. */
  readonly hugePages?: HugePageSize | undefined;
  /** Its nodes of memory and processors; one that may be anywhere when absent. */
  readonly numa?: NumaSpec | undefined;
  /** Whether it has a USB controller with a tablet, where it has a display; it does when absent. */
  readonly usbTablet?: false | undefined;
  /** How many screens it has, where it has a display; one when absent. */
  readonly displays?: number | undefined;
  /** Whether it has a vsock device. */
  readonly vsock?: true | undefined;
  /** What its watchdog does; absent for a machine without one. */
  readonly watchdog?: WatchdogAction | undefined;
  /** What a container is given and what is taken from it; the defaults when absent. */
  readonly security?: ContainerSecurity | undefined;
  /** Whether a container runs an init as that of a machine. */
  readonly system?: true | undefined;
  /** Names of devices of its host that a container has; none when absent. */
  readonly devices?: readonly string[] | undefined;
  /** Directories of its host that a container has; none when absent. */
  readonly hostPaths?: readonly HostPathUse[] | undefined;
  /** How a guest of an OCI image finds names, where not as its network has it. */
  readonly dns?: GuestDns | undefined;
  /** Secrets of a container; none when absent. */
  readonly secrets?: readonly WorkloadSecret[] | undefined;
  /** Share and bounds of a container beside its sizes; the defaults when absent. */
  readonly resources?: ContainerResources | undefined;
  readonly restart: RestartPolicy;
  readonly accel: 'any' | 'kvm' | 'tcg';
}

/** All disks that a spec asks for, the root disk first, and their sizes. */
export const disksOf = ({
  rootVolume,
  volumes,
  mounts = [],
}: Pick<WorkloadSpec, 'rootVolume' | 'volumes' | 'mounts'>): VolumeSeen[] =>
  [rootVolume, ...volumes, ...mounts].map(({ id, sizeMiB }) => ({ id, sizeMiB }));

/** Bounds of one step. The runtime must give up when `signal` fires, leaving a state the same call can finish. */
export interface StepContext {
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch after which the step counts as failed. */
  readonly deadline: number;
  /** Notes how long the parts of the step take, where somebody wants to know. */
  readonly watch?: Stopwatch;
}

/** What a runtime sees of one workload. */
export interface Observation extends WorkloadKey {
  readonly phase: Phase;
  readonly power: Power;
  /** Set when the workload is not running because a run ended. */
  readonly exit: ExitInfo | null;
  /** Host process that carries the workload: pid of QEMU or of the container's init. */
  readonly pid: number | null;
  /**
   * What keeps it from its work, as the host knows it. With one of type `StorageError` it is paused and the runtime lets
   * it go on by itself, unless its reason is `ReadOnly`: then it runs, and writes nothing until its next start. One of type `AgentConnected` is good news: its guest agent answers. One of type
   * `WatchdogExpired` and reason `Paused` holds it until `resume` or `reset`.
   */
  readonly conditions?: readonly Omit<Condition, 'since'>[];
  /** What is in its CD-ROM drives, where that was looked at. */
  readonly cdroms?: readonly CdromSeen[];
  /** Context id of its vsock device; absent where it has none. */
  readonly vsockCid?: number;
  /** Nodes of its host that its own are bound to; absent where it is bound to none. */
  readonly numaHostNodes?: readonly number[];
  /** Users of its host that its own are; absent where it has none of them. */
  readonly uidRange?: UidRange;
}

/** What a workload that runs has, of what can change meanwhile. */
export interface WorkloadHas {
  readonly volumes: readonly VolumeSeen[];
  readonly sizes: Sizes;
  /** Nics that it has, also those that its guest has not let go of; absent of a runtime that changes none. */
  readonly nics?: readonly NicId[];
  /** What is in its CD-ROM drives; absent of a runtime that has none. */
  readonly cdroms?: readonly CdromSeen[];
  /** Sizes, also that of its disk, nics and media that it did not take or let go of, at least not yet: a repeat may succeed. */
  readonly unsettled: readonly Unsettled[];
}

export interface Unsettled {
  readonly field:
    SizeField | 'rootDisk.sizeMiB' | 'volumes' | 'nics' | 'cdroms' | `resources.${ResourceField}`;
  /** `more than that is in use` */
  readonly why: string;
}

/** The sizes that a spec asks for. */
export const sizesIn = (has: Sizes): Sizes => {
  const { vcpus, maxVcpus, minVcpus, cpuMillis, memoryMiB, maxMemoryMiB, minMemoryMiB } = has;
  return {
    vcpus,
    ...(maxVcpus === undefined ? {} : { maxVcpus }),
    ...(minVcpus === undefined ? {} : { minVcpus }),
    cpuMillis,
    memoryMiB,
    ...(maxMemoryMiB === undefined ? {} : { maxMemoryMiB }),
    ...(minMemoryMiB === undefined ? {} : { minMemoryMiB }),
  };
};

/** What a runtime finds of one epoch on the host. */
export interface Held extends WorkloadKey {
  /** A guest runs, or may run: also where that cannot be ruled out. */
  readonly runs: boolean;
  /** Its parts in words for people: `cgroup berth-x/…`, `link bv…`. */
  readonly parts: readonly string[];
}

export type RuntimeErrorCode =
  | 'badImage'
  | 'imageMissing'
  | 'lowerEpoch'
  | 'noSpace'
  | 'deadline'
  | 'notPrepared'
  | 'unsupported'
  /** The agent in the guest does not answer, or makes no sense. */
  | 'agentAway'
  | 'noSuchFile'
  /** The value of a secret is not on the host; the API sends it. */
  | 'secretMissing'
  | 'noSuchSnapshot'
  /** The guest does not let a file be read or written. */
  | 'fileRefused'
  | 'hostFault';

/** An expected failure of a step. After it, nothing half-made is left of that step. */
export class RuntimeError extends Error {
  constructor(
    readonly code: RuntimeErrorCode,
    message: string,
    options?: { cause?: unknown; remedy?: string },
  ) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'RuntimeError';
    this.remedy = options?.remedy ?? null;
  }
  readonly remedy: string | null;
}

/**
 * What runs workloads on a host. Every method is idempotent: a repeat finds the work done and returns.
 * A workload's life never belongs to the calling process.
 */
export interface Runtime {
  readonly name: string;
  readonly isolations: readonly Isolation[];

  /** What this runtime can do here: measured. `ok: false` with a reason where it cannot run. */
  probe(): Promise<RuntimeProbe>;

  /**
   * Makes everything a start needs: root volume on the image, networks, directories. Keeps an existing root volume
   * (it outlives epochs). A new one with a source holds what that snapshot does, and is its own from then on.
   * @throws RuntimeError imageMissing, badImage, noSpace, noSuchSnapshot, lowerEpoch (a higher epoch was seen).
   */
  prepare(spec: WorkloadSpec, ctx: StepContext): Promise<void>;

  /**
   * Starts a prepared workload, or returns when it runs already. One that is suspended goes on where it was.
   * @throws RuntimeError notPrepared, deadline, lowerEpoch
   */
  start(spec: WorkloadSpec, ctx: StepContext): Promise<void>;

  /** Asks the guest to end, and forces it after `graceSeconds`. Returns when it is gone; a workload that does not run is stopped. */
  stop(key: WorkloadKey, graceSeconds: number, ctx: StepContext): Promise<void>;

  /**
   * Takes away everything of this epoch (process, nics, cgroups, mounts, sockets, state files) but no volume.
   * Removing what never was is no error.
   */
  remove(key: WorkloadKey, ctx: StepContext): Promise<void>;

  /** Deletes a volume. Refuses while a workload uses it. Deleting what never was is no error. */
  removeVolume(volumeId: VolumeId, ctx: StepContext): Promise<void>;

  /**
   * Makes a data volume that holds what another one holds, which no workload may use meanwhile, and is independent of it. What
   * was cut short left nothing; one that is there is whole. Without this a host has no facet `clones`.
   * @throws RuntimeError notPrepared (the other one is not here), noSpace, hostFault (it is in use), when the signal fires; then nothing of it is left
   */
  readonly cloneVolume?: (clone: VolumeCloning, ctx: StepContext) => Promise<void>;

  /**
   * Makes a file of what a data volume holds, or held in a snapshot; of a snapshot also while a workload writes the volume. The file
   * has a volume id of its own, by which it is removed. Without this a host has no facet `exports`. Repeats and errors are those of `cloneVolume`.
   * @throws RuntimeError also noSuchSnapshot
   */
  readonly exportVolume?: (order: VolumeExporting, ctx: StepContext) => Promise<ExportedFile>;
  /** Bytes of such a file from an offset on, until the signal fires. @throws RuntimeError noSuchFile (not here, or no export) */
  readonly readExport?: (
    volumeId: VolumeId,
    from: number,
    signal: AbortSignal,
  ) => Promise<AsyncIterable<Uint8Array>>;

  /** Changes as they happen, until the signal fires. Events first; polling only to resynchronise. */
  observe(signal: AbortSignal): AsyncIterable<Observation>;

  /** Everything of this runtime on the host now, also what no journal knows. Re-adopts what runs after an agent restart. */
  recover(): Promise<Observation[]>;

  /**
   * Every epoch of which this runtime finds anything on the host: a workload, or parts that were left behind (links,
   * mounts, namespaces, cgroups, machines that are off, sockets, records, logs). Whole, or it throws: a place that
   * cannot be looked into is a fault, never an absence. Volumes are no part of an epoch. Changes nothing.
   */
  inventory(): Promise<Held[]>;

  /** Facets: present only where the runtime can do it. */
  readonly pause?: (key: WorkloadKey, ctx: StepContext) => Promise<void>;
  readonly resume?: (key: WorkloadKey, ctx: StepContext) => Promise<void>;
  /**
   * Presses the reset button of a machine that runs: its guest boots anew in the same run, its process and disk stay. What a
   * reset interrupts is lost, as with a power cut. Its repeat is another reset.
   * One that its watchdog paused goes on.
   * @throws RuntimeError notPrepared when it does not run, or is paused by a wish or for its disk
   */
  readonly reset?: (key: WorkloadKey, ctx: StepContext) => Promise<void>;
  /**
   * Writes a running workload's memory beside its root volume and ends it: its power is then `suspended`, also after the
   * host was booted again. `start` brings it back, in the same run; `stop`, `remove` and `removeVolume` discard the
   * memory. Whatever fails before the memory is whole leaves it running or paused.
   * @throws RuntimeError notPrepared when it does not run, noSpace, deadline
   */
  readonly suspend?: (spec: WorkloadSpec, ctx: StepContext) => Promise<void>;
  /**
   * Puts into effect what can change while a workload runs or is paused: it has exactly these `volumes` then, of these
   * sizes and within these limits, its root disk has grown, a container has these `resources`, and the sizes that change while it runs (model, sizes.ts)
   * are the ones asked for, and so are the nics of a VM and the media in the CD-ROM drives that it was started with, or `unsettled` says why not.
   * A medium that is the one asked for stays as it is, also where its guest has opened the tray. Nothing else is looked at. Through a nic that
   * is to go nothing passes any more, also while the guest keeps its device. A volume that was taken away is
   * held by nobody here. @throws RuntimeError notPrepared when it does not run, noSpace, unsupported, imageMissing, badImage
   */
  readonly update?: (spec: WorkloadSpec, ctx: StepContext) => Promise<WorkloadHas>;
  /** Serial output or process output from the first byte kept; `follow` goes on until the signal fires. */
  readonly logs?: (key: WorkloadKey, options: LogOptions, signal: AbortSignal) => AsyncIterable<Uint8Array>;
  /**
   * The serial console: what was printed last, then what is printed, and what is typed. Any number at once, all see the
   * same. @throws RuntimeError notPrepared when it does not run, unsupported
   */
  readonly console?: (key: WorkloadKey, open: ConsoleOpen, signal: AbortSignal) => Promise<Terminal>;
  /**
   * Screen, keyboard and pointer: the bytes of RFB (RFC 6143) both ways, all of them `output`; security type None, since
   * whoever comes here was let in. Any number at once, all see the same. @param head which of its screens, counted from 0; the
   * first when absent @throws RuntimeError notPrepared when it does not run, unsupported when it was started without that screen
   */
  readonly display?: (key: WorkloadKey, signal: AbortSignal, head?: number) => Promise<Terminal>;
  /** What is on the screen, as a PNG file; also while it is paused. @param head as of `display` @throws RuntimeError as `display` */
  readonly screenshot?: (key: WorkloadKey, signal: AbortSignal, head?: number) => Promise<Uint8Array>;
  /**
   * Presses keys, one combination after another, and lets them go; resolves when the last one has been.
   * @throws RuntimeError as `display`, and notPrepared while it is paused
   */
  readonly sendKeys?: (key: WorkloadKey, presses: readonly KeyPress[], signal: AbortSignal) => Promise<void>;
  /**
   * A process in the running workload: in its namespaces, cgroup and limits, and with no privilege it has not. The
   * process ends with its terminal. @throws RuntimeError notPrepared when it does not run, badImage (no such user)
   */
  readonly exec?: (key: WorkloadKey, open: ExecOpen, signal: AbortSignal) => Promise<Terminal>;
  /**
   * The first process of the workload: what it printed last, what it prints, and what is typed to it. Any number at once. The
   * workload outlives it, and its input does. @throws RuntimeError notPrepared when it does not run, or has no input and more than
   * looking is asked for
   */
  readonly attach?: (key: WorkloadKey, open: AttachOpen, signal: AbortSignal) => Promise<Terminal>;
  /**
   * What runs in it now, in its own numbers: of a container as its host sees it, of others in the guest's own words.
   * @throws RuntimeError notPrepared when it does not run, agentAway, unsupported (a guest that cannot tell)
   */
  readonly processes?: (key: WorkloadKey, signal: AbortSignal) => Promise<InstanceProcesses>;
  /** What its cloud-init was given for this epoch; null before it is prepared. */
  readonly seed?: (key: WorkloadKey) => Promise<CloudInitSeed | null>;
  /** Files of a workload whose root its host can reach; those of a VM are reached by its agent alone. */
  readonly files?: FilesFacet;
  /** What is done through an agent inside the guest. */
  readonly guest?: GuestFacet;
  readonly snapshots?: SnapshotFacet;
  readonly layers?: LayerFacet;
  /** The limits the host really enforces. */
  readonly limits?: (key: WorkloadKey) => Promise<EnforcedLimits>;
  /** What every workload that runs has used, or that one of them alone. One that ends meanwhile is left out. */
  readonly usage?: (of?: WorkloadKey) => Promise<readonly (WorkloadKey & Usage)[]>;
}

/** Files of a workload that runs. @throws RuntimeError notPrepared when it does not run, or ends meanwhile */
export interface FilesFacet {
  /** Bytes of a regular file. @throws RuntimeError noSuchFile, fileRefused */
  readFile(key: WorkloadKey, path: string, signal: AbortSignal): Promise<GuestFile>;
  /**
   * Replaces or makes a file, which is its root's; until all of it is there, what was there is. @returns how many bytes
   * @throws RuntimeError noSuchFile (its directory), fileRefused, noSpace
   */
  writeFile(
    key: WorkloadKey,
    target: FileTarget,
    bytes: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<number>;
}

/**
 * What the agent in a guest does for us. It belongs to whoever owns the guest, so its answers are bounded and nothing
 * but what was asked depends on them. Each is refused at once while no agent answers. @throws RuntimeError notPrepared when
 * it does not run, agentAway
 */
export interface GuestFacet extends FilesFacet {
  /** What the guest says of itself. */
  info(key: WorkloadKey, signal: AbortSignal): Promise<GuestInfo>;
  /**
   * A program in the guest, run by its agent with the agent's rights (root's). It begins when its input has ended, its
   * output comes when it has, and both are bounded. It has no terminal. @throws RuntimeError unsupported
   */
  exec(key: WorkloadKey, open: ExecOpen, signal: AbortSignal): Promise<Terminal>;
  /**
   * The guest writes out all its file systems and holds what is written then, so that its disk can be copied: until
   * `thaw`, and for so many seconds at most, also when this process dies meanwhile. Condition `FilesystemsFrozen`.
   * @returns how many @throws RuntimeError; then none is left frozen
   */
  freeze(key: WorkloadKey, seconds: number, signal: AbortSignal): Promise<number>;
  /** Lets them be written again. @returns how many; none frozen is no error */
  thaw(key: WorkloadKey, signal: AbortSignal): Promise<number>;
}

export interface VolumeExporting extends VolumeCloning {
  readonly snapshotId?: SnapshotId | undefined;
}

export interface VolumeCloning {
  readonly volumeId: VolumeId;
  readonly sourceId: VolumeId;
  /** Of the new one. */
  readonly format: DiskFormat;
  readonly sizeMiB: number;
  /** Gets how much is copied, of hundred, now and then. */
  readonly progress: (percent: number) => void;
}

/** A snapshot of an instance whose newest epoch here is the key's. */
export interface SnapshotOf extends WorkloadKey {
  readonly snapshotId: SnapshotId;
  /** Its disks, the root disk first. */
  readonly volumes: readonly VolumeId[];
  /** With the memory of its guest, which is to go on from that moment. Only where the facet `memorySnapshots` is. */
  readonly memory?: true | undefined;
}

/**
 * Disks as they were at one moment, kept with the disks themselves. What was begun and cut short is finished, or taken away,
 * by the same call.
 */
export interface SnapshotFacet {
  /**
   * Takes all its disks at one moment, whether the workload runs or not; where an agent answers in its guest, with file
   * systems frozen meanwhile, and never longer. With memory it stands still instead, and goes on afterwards, whatever
   * becomes of whoever asked. A repeat says what was said first.
   * @throws RuntimeError noSpace, unsupported (a disk that can hold none), notPrepared (a disk that it does not have yet; memory of what does not run, stands still or is frozen), hostFault; then nothing of it is left
   */
  take(of: SnapshotOf, ctx: StepContext): Promise<SnapshotTaken>;
  /**
   * Brings its disks back as they were. Disks that it does not name stay. Until it is done nothing starts from them. With memory
   * the next start goes on from there, in whatever epoch, and is refused (unsupported) where the spec asks for another machine.
   * @throws RuntimeError notPrepared when the workload runs or is suspended, noSuchSnapshot (nothing was changed), hostFault
   */
  revert(of: SnapshotOf, ctx: StepContext): Promise<void>;
  /** Lets go of it; its disks stay as they are. Removing what never was is no error. @throws RuntimeError hostFault */
  remove(of: SnapshotOf, ctx: StepContext): Promise<void>;
}

/** What a container changed of its image. @throws RuntimeError notPrepared where it never ran here */
export interface LayerFacet {
  /**
   * One page of the changes, parents first, in the order of their bytes; also while it runs. No name that the guest chose leads
   * out of its own files. @param image what it was made of
   */
  changes(
    key: WorkloadKey,
    image: ImageContent,
    page: { readonly after?: string | undefined; readonly limit: number },
    signal: AbortSignal,
  ): Promise<LayerChanges>;
  /**
   * The tar of a layer (OCI image-spec) that has these changes. One that runs stands still until the last byte was read or the
   * signal fired, and is said to run meanwhile; a fault on the way ends the bytes with that error.
   * @throws RuntimeError notPrepared also when it is started, stopped or resumed on the way, or packed already; badImage for what a layer
   * cannot hold, or more than `maxBytes`
   */
  pack(key: WorkloadKey, maxBytes: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** It stands still for that: what it does not answer now says nothing of it. */
  holds(key: WorkloadKey): boolean;
}

/** A file of a guest. Its bytes are for one reader, end with an error where they cannot be read on, and at its signal. */
export interface GuestFile {
  /** Null where the guest does not say. */
  readonly sizeBytes: number | null;
  readonly bytes: AsyncIterable<Uint8Array>;
}

export interface RuntimeProbe {
  readonly ok: boolean;
  readonly reason: string | null;
  readonly facets: readonly string[];
  /** Facts for the host's capabilities; each runtime fills what it knows. */
  readonly facts: Partial<
    Pick<
      Capabilities,
      | 'accel'
      | 'cpu'
      | 'cpuModels'
      | 'devices'
      | 'hostPaths'
      | 'hugePages'
      | 'numa'
      | 'processors'
      | 'versions'
      | 'cgroup'
      | 'tenantBoundary'
    >
  >;
  /** A fuller answer, where a measurement takes longer than anybody should wait. */
  readonly later?: Promise<RuntimeProbe>;
}

/** Output of a terminal; `errorOutput` only of a process without one. */
export interface TerminalOutput {
  readonly channel: 'output' | 'errorOutput';
  readonly bytes: Uint8Array;
}

/**
 * A byte stream both ways to a workload. It holds little: output that is not read holds its writer up (exec) or stays in
 * the log (console), and `write` resolves when there is room. It closes when its signal fires.
 */
export interface Terminal {
  /** For one reader. Ends after the last byte of what is over, and at once when it was closed. */
  readonly output: AsyncIterable<TerminalOutput>;
  /** Resolves when more may be written, also when nobody reads it any more. */
  write(bytes: Uint8Array): Promise<void>;
  /** The end of the input of a process without a terminal; otherwise nothing. */
  endInput(): void;
  /** Nothing without a terminal. */
  resize(size: TerminalSize): void;
  /** How it ended by itself; null when it was closed. Never rejects. */
  readonly ended: Promise<TerminalEnd | null>;
  /** Ends it, and with it the process of an exec. Repeating it is no error. */
  close(): void;
}

export interface LogOptions {
  /** Start this many bytes before the end; all that is kept when absent. */
  readonly tailBytes?: number;
  readonly follow: boolean;
  /**
   * In frames, which say when each line was written (model, log-lines.ts), where the log of such a workload has them: a
   * container's. Others give bytes as ever.
   */
  readonly framed?: boolean;
}

export interface EnforcedLimits {
  readonly memoryBytes: number | null;
  /** CPU cap in thousandths of a processor. */
  readonly cpuMillis: number | null;
  readonly pids: number | null;
}
