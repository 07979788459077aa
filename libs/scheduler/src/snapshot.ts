import type {
  Capabilities,
  Capacity,
  HostId,
  InstanceId,
  InstanceSpec,
  Labels,
  Resources,
  Waiting,
} from '@berth/model';

/** A host as the scheduler sees it: an immutable copy, read in one statement. */
export interface HostSnapshot {
  readonly id: HostId;
  readonly name: string;
  readonly labels: Labels;
  readonly state: 'new' | 'ready' | 'silent';
  readonly schedulable: boolean;
  readonly capabilities: Capabilities | null;
  readonly capacity: Capacity | null;
  /** Booked by placements that have not ended, including volumes for disk. */
  readonly used: Capacity;
  /** Instances placed here that have not ended. */
  readonly instances: number;
  /** Ports that its instances publish, as `tcp/8080`. */
  readonly ports: readonly string[];
  /** Digests of images that the host holds wholly. */
  readonly images: readonly string[];
}

export interface Snapshot {
  readonly id: string;
  readonly hosts: readonly HostSnapshot[];
}

/** One instance that wants a host. */
export interface PlacementRequest {
  readonly instanceId: InstanceId;
  readonly spec: InstanceSpec;
  /** `diskMiB` is 0 when the volume exists already: a start needs no new room for it. */
  readonly resources: Resources;
  readonly imageDigest: string;
  /** Host that holds the instance's volumes, or null while they are nowhere. */
  readonly volumeHost: { readonly id: HostId; readonly name: string } | null;
  /** What of its dependencies is not as it has to be; null when all are. */
  readonly waitsFor: Waiting | null;
  /** Its name, which a host may offer something to. */
  readonly project: string;
  /** A network of it has IPv6. */
  readonly ipv6: boolean;
}

export interface Policy {
  /** `spread` fills the emptiest host first, `pack` the fullest that still fits. */
  readonly strategy: 'spread' | 'pack';
  /** Ties are broken by this seed, so the same input gives the same answer. */
  readonly seed: string;
}
