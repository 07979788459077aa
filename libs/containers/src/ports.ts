import type { Digest, HostNetworkSpec, NetworkId, VolumeId } from '@berth/model';
import type { WorkloadKey, WorkloadNic } from '@berth/runtime';

/*
 * What the container runtime needs of the other rooms, no wider than it uses. `BlobStore`, `LayerStore`, `VolumePool`
 * and `HostNetwork` fit as they are; tests may pass smaller ones.
 */

/** Content-addressed blobs of this host. */
export interface BlobSource {
  has(digest: Digest): boolean | Promise<boolean>;
}

/** Layers, unpacked once and unshifted. */
export interface LayerSource {
  ensure(
    layer: { readonly digest: Digest; readonly diffId: Digest; readonly mediaType: string },
    signal?: AbortSignal,
  ): Promise<string>;
}

export interface WritableLayer {
  readonly upper: string;
  readonly work: string;
  readonly sizeMiB: number;
}

/** Writable layers, named by volume id. */
export interface LayerVolumes {
  /** Mounted when it returns, and at least so large, or as large as it can be while it is in use. */
  ensureLayer(request: { readonly volumeId: VolumeId; readonly sizeMiB: number }): Promise<WritableLayer>;
  closeLayer(volumeId: VolumeId): Promise<void>;
  /** Those that nothing can be written to any more until they are closed and opened again. One look at the mount table. */
  endedLayers(): ReadonlySet<VolumeId>;
  remove(volumeId: VolumeId): Promise<unknown>;
}

/** Bridges and veth pairs of this host. */
export interface VethAttacher {
  ensure(spec: HostNetworkSpec): Promise<unknown>;
  attachVeth(
    key: WorkloadKey,
    nic: WorkloadNic,
    target: { readonly netns: string; readonly ifname: string; readonly defaultRoute?: boolean },
  ): Promise<unknown>;
  /** What a guest writes to its resolv.conf; null before `ensure`. */
  resolver(networkId: NetworkId): Promise<{ readonly nameserver: string; readonly search: string } | null>;
  detach(key: WorkloadKey): Promise<unknown>;
  /** Every nic of this host's workloads, by the links' own word. */
  inventory(): Promise<readonly (WorkloadKey & { readonly ifname: string; readonly kind: 'tap' | 'veth' })[]>;
  release(networkId: NetworkId): Promise<unknown>;
}

/** A directory of the host that containers may mount. */
export interface HostPath {
  /** Without a link on the way. */
  readonly path: string;
  /** `rw`: containers may ask to write. */
  readonly mode: 'ro' | 'rw';
  /** Projects that may ask for it; all when absent. */
  readonly projects?: readonly string[] | undefined;
}

export interface ContainerRuntimeOptions {
  readonly blobs: BlobSource;
  readonly layers: LayerSource;
  readonly volumes: LayerVolumes;
  readonly network: VethAttacher;
  /** Survives a reboot: uid ranges, highest epochs, one record per workload. */
  readonly stateDir: string;
  /** Emptied by a reboot: sockets, namespaces, mounts, bundles, exit files. */
  readonly runDir: string;
  /** Output of every workload. */
  readonly logDir: string;
  /** Short name of this host (`a-z`, `0-9`, `-`): it keeps the cgroups of several hosts on one machine apart. */
  readonly hostTag: string;
  /** Seccomp profile in the format of containers-common. Default: where Debian's package puts it. */
  readonly seccompProfile?: string;
  /** The static program that tools/microvm/build makes, for containers that ask for a first process; none can when it is absent. */
  readonly initProgram?: string;
  /** Bytes kept of one workload's log; it starts anew when it is full. Default 16 MiB. */
  readonly logMaxBytes?: number;
  /** Devices of this host that containers may ask for, by name. Default: none. */
  readonly devices?: Readonly<Record<string, string>>;
  /** Directories of this host that containers may ask for, by name. Default: none. */
  readonly hostPaths?: Readonly<Record<string, HostPath>>;
  /** Directories of Berth beside the three above, which no container gets to see by whatever name. */
  readonly ownPaths?: readonly string[];
  /** Whether containers see their own memory, processors, uptime and load where lxcfs is installed. Default: no. */
  readonly lxcfs?: boolean;
  /** Hears of what goes wrong on the host and ends no container. */
  readonly tell?: (message: string, error?: unknown) => void;
}
