import type { ReportBody } from '@berth/link';
import type { HostNetworkSpec, HostSecret, ImageContent } from '@berth/model';
import type { WorkloadKey } from '@berth/runtime';
import type { Clock, Slots } from './clock.js';
import type { Journal, PlacementRecord } from './journal.js';
import type { AgentLog } from './log.js';
import type { RuntimeChoice } from './runtime-choice.js';

/** A lower epoch of the same instance on this host. */
export interface Predecessor {
  readonly key: WorkloadKey;
  readonly record: PlacementRecord;
  /** Runs, or may run. */
  readonly alive: boolean;
  /** Its runtime removed all it held of it. */
  cleared(): void;
}

/** What a worker needs of the agent around it. */
export interface WorkerPorts {
  readonly clock: Clock;
  readonly journal: Journal;
  readonly log: AgentLog;
  readonly bootId: string;
  /** Limits concurrent starts of VMs: they are bound by the cores. */
  readonly startSlots: Slots;
  /** Limits how many probes are asked at a time. */
  readonly probeSlots: Slots;
  readonly choice: RuntimeChoice;
  /** Resolves when every blob of these images is here. */
  fetchImages(images: readonly ImageContent[], signal: AbortSignal): Promise<void>;
  /** As the API sent it; undefined before it did. */
  secretValue(secret: Pick<HostSecret, 'id' | 'version'>): Uint8Array | undefined;
  imagesPresent(images: readonly ImageContent[]): Promise<boolean>;
  /** Brings leases and published ports of a workload's networks to what was last listed. */
  bringNetworks(networks: readonly HostNetworkSpec[]): Promise<void>;
  report(body: ReportBody): void;
  predecessors(key: WorkloadKey): readonly Predecessor[];
  /** The epoch is over: others of the instance may wait for that. */
  changed(key: WorkloadKey): void;
  /** Which disks it has is known by now: orders to remove others may wait for that. */
  disksKnown(): void;
  /** The epoch's tombstone is carried out: forget it. */
  removed(key: WorkloadKey): Promise<void>;
}
