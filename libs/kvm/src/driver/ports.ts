import type { AccelProbe } from '../accel/accel-probe.js';
import type { QemuAnswers } from '../accel/qemu-answers.js';
import type { HostChoices } from './host-choices.js';
import type {
  DiskFormat,
  Digest,
  ExportedFile,
  HostNetworkSpec,
  NetworkId,
  NicId,
  VolumeId,
} from '@berth/model';
import type { WorkloadKey, WorkloadNic } from '@berth/runtime';

/*
 * What the VM runtime needs of the other rooms, no wider than it uses. `BlobStore`, `VolumePool` and `HostNetwork`
 * fit as they are; tests pass smaller ones.
 */

/** Content-addressed blobs of this host. */
export interface BlobSource {
  has(digest: Digest): boolean | Promise<boolean>;
  path(digest: Digest): string;
}

/** Disks named by volume id: root disks, which are qcow2 overlays, and data volumes. */
export interface DiskVolumes {
  ensureOverlayDisk(request: {
    volumeId: VolumeId;
    base: { path: string; format: DiskFormat };
    sizeMiB: number;
    source?: { volumeId: VolumeId; snapshot: string } | undefined;
    signal?: AbortSignal | undefined;
  }): Promise<{ path: string; format: 'qcow2' }>;
  ensureDataDisk(request: {
    volumeId: VolumeId;
    format: DiskFormat;
    sizeMiB: number;
    source?: { volumeId: VolumeId; snapshot: string } | undefined;
    signal?: AbortSignal | undefined;
  }): Promise<{ path: string }>;
  /** A new one that holds what a data disk holds that nothing has open; one that is here already is kept. */
  cloneDataDisk(request: {
    volumeId: VolumeId;
    sourceId: VolumeId;
    format: DiskFormat;
    sizeMiB: number;
    progress: (percent: number) => void;
    signal: AbortSignal;
  }): Promise<void>;
  /** A file of what a data disk holds, or held in a snapshot; one that is here already is kept. */
  exportDataDisk(request: {
    volumeId: VolumeId;
    sourceId: VolumeId;
    format: DiskFormat;
    sizeMiB: number;
    snapshot?: string | undefined;
    progress: (percent: number) => void;
    signal: AbortSignal;
  }): Promise<ExportedFile>;
  /** Null when it is not here, or no export. */
  exportedFile(volumeId: VolumeId): Promise<{ path: string; sizeBytes: number } | null>;
  /** Null when it is not here. */
  stat(volumeId: VolumeId): Promise<unknown>;
  dataPath(volumeId: VolumeId, format: DiskFormat): string;
  /** Of a disk that nothing has open. */
  grow(volumeId: VolumeId, sizeMiB: number): Promise<unknown>;
  remove(volumeId: VolumeId): Promise<unknown>;
  /** Where a volume's memory image lies while its machine is suspended; only root may read it. */
  memoryPath(volumeId: VolumeId): string;
  /** Where the snapshots of a root disk are written down; it goes with the disk. */
  snapshotsPath(volumeId: VolumeId): string;
  /** File with the variables of a root disk's firmware, made from `template` on first call. */
  variablesFile(volumeId: VolumeId, name: string, template: string): Promise<string>;
  /** File with the type of machine that a root disk was first started with; it goes with the disk. */
  machineTypePath(volumeId: VolumeId): string;
  /** Directory with what the TPM of a root disk's machine keeps, there or not; it goes with the disk. */
  tpmPath(volumeId: VolumeId): string;
  /** The variables of all firmware of a root disk, in and out of a snapshot of it. */
  variables(volumeId: VolumeId, verb: 'take' | 'revert' | 'remove', snapshot: string): Promise<void>;
  /** Of a disk that nothing has open. `take` replaces one of that name, `remove` of what is not there is no error. */
  snapshot(volumeId: VolumeId, verb: 'take' | 'revert' | 'remove', snapshot: string): Promise<void>;
  hasSnapshot(volumeId: VolumeId, snapshot: string): Promise<boolean>;
  /** What a disk takes on the host, MiB. */
  allocatedMiB(volumeId: VolumeId): Promise<number>;
  /** Free space above the pool's reserve. */
  freeMiB(): Promise<number>;
}

/** A nic of this host's workloads, as its link says. */
export interface NicSeen extends WorkloadKey {
  readonly nicId: NicId;
  readonly networkId: NetworkId;
  /** Null where an agent of before named it. */
  readonly addresses: {
    readonly mac: string;
    readonly ipv4: string;
    readonly ipv6?: string | undefined;
  } | null;
  readonly ifname: string;
  readonly kind: 'tap' | 'veth';
}

/** Bridges and taps of this host. */
export interface NicAttacher {
  ensure(spec: HostNetworkSpec): Promise<unknown>;
  attachTap(
    key: WorkloadKey,
    nic: WorkloadNic,
    owner: { uid: number; gid: number },
  ): Promise<{ ifname: string }>;
  detach(key: WorkloadKey): Promise<unknown>;
  /** From now on nothing passes this nic. One that is not there is no error. */
  silence(key: WorkloadKey, nicId: NicId): Promise<unknown>;
  /** Deletes one nic. One that is not there is no error. */
  detachNic(key: WorkloadKey, nicId: NicId): Promise<unknown>;
  /** Every nic of this host's workloads, by the links' own word. */
  inventory(): Promise<readonly NicSeen[]>;
  release(networkId: NetworkId): Promise<unknown>;
}

/** What every VM driver needs. */
export interface VmRuntimeOptions {
  readonly blobs: BlobSource;
  readonly volumes: DiskVolumes;
  readonly network: NicAttacher;
  /** Survives a reboot: one small record per workload. */
  readonly stateDir: string;
  /** Emptied by a reboot. */
  readonly runDir: string;
  /** Serial output of every workload. */
  readonly logDir: string;
  /** Short name of this host; it marks machines as ours where several hosts share a machine. */
  readonly hostTag: string;
  /** Whether KVM is worth anything: one for all drivers of a host. One of its own by default. */
  readonly accel?: AccelProbe;
  /** What the host chooses for its machines: one for all drivers of a host. One of its own by default. */
  readonly choices?: HostChoices;
  /** What QEMU says of itself: one for all drivers of a host, which keeps it. That of the process by default. */
  readonly qemu?: QemuAnswers;
  /** Checks that a file is a disk of the expected format; defaults to the header parser of the images room. */
  readonly inspectDisk?: (path: string) => Promise<{ format: DiskFormat; virtualSizeMiB: number }>;
  /** Clock for the times of exits; the system's by default. */
  readonly now?: () => Date;
}

export interface KvmRuntimeOptions extends VmRuntimeOptions {
  /** Unix socket of the host's libvirtd. */
  readonly libvirtSocket: string;
  /** The account QEMU runs as; default `libvirt-qemu`. */
  readonly qemuUser?: string;
}
