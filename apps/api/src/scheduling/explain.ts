import { BerthError, type HostVerdict, type Instance, resourcesOf } from '@berth/model';
import { type DecisionDraft, decide, type HostSnapshot, judge, type Snapshot } from '@berth/scheduler';
import type { HostId } from '@berth/model';
import { policyFor, requestOf, toSnapshot, type PlaceDeps } from './place.js';
import type { PlacementStore } from '../store/store.js';

export interface Explanation {
  /** When the snapshot was read: a recomputed answer, not the stored decision. */
  readonly asOf: string;
  readonly decision: DecisionDraft;
  /** The verdict on the one host that was asked for. */
  readonly host: HostVerdict | null;
}

export interface ExplainDeps extends Pick<PlaceDeps, 'strategy'> {
  readonly store: Pick<PlacementStore, 'snapshotRead'>;
}

/**
 * What the scheduler would say of an instance now, for every host or for one by name. What the instance books itself is
 * not held against it. @throws notFound when the host does not exist
 */
export async function explain(
  deps: ExplainDeps,
  instance: Instance,
  volumeHostId: HostId | null,
  hostName?: string,
): Promise<Explanation> {
  const read = await deps.store.snapshotRead();
  const all = toSnapshot(read);
  const holder =
    instance.status.phase !== null && instance.status.phase !== 'ended'
      ? instance.status.host?.id
      : undefined;
  const own = resourcesOf(instance.spec);
  const snapshot: Snapshot = { ...all, hosts: all.hosts.map((h) => (h.id === holder ? without(h, own) : h)) };
  const pending = {
    id: instance.id,
    spec: instance.spec,
    resources: { ...own, diskMiB: volumeHostId === null ? own.diskMiB : 0 },
    imageDigest: instance.imageDigest as never,
    volumeHostId,
  };
  const request = requestOf(pending, snapshot);
  const policy = policyFor(deps, instance);
  const one = hostName === undefined ? undefined : snapshot.hosts.find((h) => h.name === hostName);
  if (hostName !== undefined && one === undefined)
    throw new BerthError('notFound', `there is no host ${JSON.stringify(hostName)}`, {
      remedy: 'List the hosts with GET /v1/hosts.',
    });
  return {
    asOf: read.at.toISOString(),
    decision: decide(snapshot, request, policy),
    host: one === undefined ? null : judge(one, request, policy),
  };
}

function without(h: HostSnapshot, own: { cpuMillis: number; memoryMiB: number }): HostSnapshot {
  return {
    ...h,
    used: {
      ...h.used,
      cpuMillis: h.used.cpuMillis - own.cpuMillis,
      memoryMiB: h.used.memoryMiB - own.memoryMiB,
    },
  };
}
