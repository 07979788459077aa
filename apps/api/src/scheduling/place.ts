import { faultPoint } from '@berth/faults';
import { type Decision, type DecisionId, type HostId, portsOf, portText } from '@berth/model';
import {
  type DecisionDraft,
  decide,
  type HostSnapshot,
  type PlacementRequest,
  type Policy,
  type Snapshot,
} from '@berth/scheduler';
import type { Meters } from '../metrics/meters.js';
import type { Traces } from '../metrics/traces.js';
import type { Clock, IdSource, PendingInstance, PlacementSnapshot, PlacementStore } from '../store/store.js';

/** What one pass needs; the store is the only part that waits. */
export interface PlaceDeps {
  readonly store: Pick<
    PlacementStore,
    'snapshotRead' | 'pendingInstances' | 'placementCommit' | 'decisionInsert'
  >;
  readonly strategy: Policy['strategy'];
  readonly clock: Clock;
  readonly ids: IdSource;
  /** The host's assignment list changed. */
  readonly placed: (hostId: HostId) => void;
  readonly meters?: Pick<Meters, 'placed' | 'pass'>;
  readonly traces?: Pick<Traces, 'mark'>;
}

export interface PassResult {
  readonly placed: number;
  readonly unplaced: number;
  /** Commits that found the host full or the instance changed. */
  readonly lost: number;
}

const batch = 500;
/** How often one instance looks for another host when its choice was taken by another replica. */
const attemptsPerInstance = 8;

/**
 * Offers a host to everything that waits, longest waiting first. Several replicas may run this at once: the commit
 * re-checks under the host's lock, and whoever comes second reads a new snapshot.
 */
export async function placePending(deps: PlaceDeps): Promise<PassResult> {
  const pending = await deps.store.pendingInstances(batch);
  const result = { placed: 0, unplaced: 0, lost: 0 };
  if (pending.length === 0) return result;
  let snapshot = await readSnapshot(deps);
  for (const instance of pending) {
    for (let attempt = 0; attempt < attemptsPerInstance; attempt++) {
      const draft = decide(snapshot, requestOf(instance, snapshot), policyFor(deps, instance));
      const decision = complete(deps, draft);
      if (draft.hostId === null) {
        await deps.store.decisionInsert(decision);
        result.unplaced += 1;
        break;
      }
      const commit = await deps.store.placementCommit({
        instanceId: instance.id,
        hostId: draft.hostId,
        runGeneration: instance.runGeneration,
        decision,
      });
      if (commit.outcome === 'placed') {
        await faultPoint('api.placement.committed', instance.id);
        snapshot = booked(snapshot, draft.hostId, instance);
        deps.traces?.mark(instance.id, 'decision');
        deps.placed(draft.hostId);
        deps.meters?.placed((deps.clock.now().getTime() - instance.waitsSince.getTime()) / 1000);
        result.placed += 1;
        break;
      }
      result.lost += 1;
      if (commit.outcome === 'stale') break;
      snapshot = await readSnapshot(deps);
    }
  }
  deps.meters?.pass(result);
  return result;
}

async function readSnapshot(deps: PlaceDeps): Promise<Snapshot> {
  return toSnapshot(await deps.store.snapshotRead());
}

/** The store's rows as the pure scheduler takes them. */
export function toSnapshot(read: PlacementSnapshot): Snapshot {
  return { id: read.snapshotId, hosts: read.hosts };
}

export function requestOf(
  instance: Pick<
    PendingInstance,
    'id' | 'project' | 'spec' | 'resources' | 'volumeHostId' | 'ipv6' | 'waitsFor'
  > & {
    readonly imageDigest: string;
  },
  snapshot: Snapshot,
): PlacementRequest {
  const holder = instance.volumeHostId;
  const name = snapshot.hosts.find((h) => h.id === holder)?.name ?? 'a host that was removed';
  return {
    instanceId: instance.id,
    spec: instance.spec,
    resources: instance.resources,
    imageDigest: instance.imageDigest,
    project: instance.project,
    ipv6: instance.ipv6,
    waitsFor: instance.waitsFor,
    volumeHost: holder === null ? null : { id: holder, name },
  };
}

/** The seed is the instance's own, so that a repeat of the attempt gives the same answer. */
export function policyFor(
  deps: Pick<PlaceDeps, 'strategy'>,
  instance: { readonly id: string; readonly runGeneration: number },
): Policy {
  return { strategy: deps.strategy, seed: `${instance.id}/${instance.runGeneration}` };
}

function complete(deps: PlaceDeps, draft: DecisionDraft): Decision {
  return { ...draft, id: deps.ids.uuid() as DecisionId, at: deps.clock.now().toISOString() };
}

/** The snapshot after our own commit, so that a batch needs one read. */
function booked(snapshot: Snapshot, hostId: HostId, { resources, spec }: PendingInstance): Snapshot {
  const add = (h: HostSnapshot): HostSnapshot => ({
    ...h,
    instances: h.instances + 1,
    ports: [...h.ports, ...portsOf(spec).map(portText)],
    used: {
      cpuMillis: h.used.cpuMillis + resources.cpuMillis,
      memoryMiB: h.used.memoryMiB + resources.memoryMiB,
      diskMiB: h.used.diskMiB + resources.diskMiB,
    },
  });
  return { ...snapshot, hosts: snapshot.hosts.map((h) => (h.id === hostId ? add(h) : h)) };
}
