import {
  BerthError,
  type HostId,
  type HostVerdict,
  type Instance,
  type InstanceId,
  type InstanceSpec,
  portsOf,
  portText,
  resourcesOf,
} from '@berth/model';
import { decide, type DecisionDraft, type HostSnapshot, judge, type Snapshot } from '@berth/scheduler';
import type { IdSource, PlacementStore, SpecOrigin } from '../store/store.js';
import { type PlaceDeps, policyFor, requestOf, toSnapshot } from './place.js';

/** What the scheduler would say now: recomputed, not the stored decision. */
export interface Explanation {
  /** When the snapshot was read. */
  readonly asOf: string;
  readonly decision: DecisionDraft;
  /** The verdict on the one host that was asked for, else null. */
  readonly host: HostVerdict | null;
}

export interface ExplainDeps extends Pick<PlaceDeps, 'strategy'> {
  readonly store: Pick<PlacementStore, 'snapshotRead' | 'instanceWaits'>;
}

/**
 * Judges hosts for an instance as of now. What the instance books itself is not held against it.
 * @param volumeHostId host of its root volume, null before its first placement
 * @throws BerthError notFound when there is no host of that name
 */
export async function explain(
  deps: ExplainDeps,
  instance: Instance,
  volumeHostId: HostId | null,
  hostName?: string,
): Promise<Explanation> {
  const read = await deps.store.snapshotRead();
  const snapshot = withoutOwn(toSnapshot(read), instance);
  const own = resourcesOf(instance.spec);
  const request = requestOf(
    {
      id: instance.id,
      project: instance.project,
      spec: instance.spec,
      resources: { ...own, diskMiB: volumeHostId === null ? own.diskMiB : 0 },
      imageDigest: instance.imageDigest,
      volumeHostId,
      ipv6: instance.status.nics.some(({ ipv6 }) => ipv6 !== undefined),
      waitsFor: await deps.store.instanceWaits(instance.id),
    },
    snapshot,
  );
  const policy = policyFor(deps, instance);
  const host = hostName === undefined ? undefined : snapshot.hosts.find((h) => h.name === hostName);
  if (hostName !== undefined && host === undefined)
    throw new BerthError('notFound', `there is no host ${JSON.stringify(hostName)}`, {
      remedy: 'List the hosts with GET /v1/hosts.',
    });
  return {
    asOf: read.at.toISOString(),
    decision: decide(snapshot, request, policy),
    host: host === undefined ? null : judge(host, request, policy),
  };
}

/** What the scheduler would say of an instance that is not there yet. Nothing is written. */
export interface Preview {
  readonly asOf: string;
  readonly decision: Omit<DecisionDraft, 'instanceId'>;
}

/** Judges every host for a spec as of now, as the first placement of a new instance would. */
export async function preview(
  deps: ExplainDeps & { readonly ids: IdSource },
  project: string,
  spec: InstanceSpec,
  origin: SpecOrigin,
): Promise<Preview> {
  const read = await deps.store.snapshotRead();
  const snapshot = toSnapshot(read);
  const id = deps.ids.uuid() as InstanceId;
  const request = requestOf(
    {
      id,
      project,
      spec,
      resources: resourcesOf(spec),
      imageDigest: origin.digest,
      volumeHostId: origin.hostId,
      ipv6: origin.ipv6,
      waitsFor: origin.waitsFor,
    },
    snapshot,
  );
  const { instanceId: _, ...decision } = decide(snapshot, request, policyFor(deps, { id, runGeneration: 1 }));
  return { asOf: read.at.toISOString(), decision };
}

/** The snapshot as it were if the instance had ended. */
function withoutOwn(snapshot: Snapshot, instance: Instance): Snapshot {
  const { phase, host } = instance.status;
  if (host === null || phase === null || phase === 'ended') return snapshot;
  const own = resourcesOf(instance.spec);
  // Of the spec as it is now, which is what its host publishes.
  const ports = new Set(portsOf(instance.spec).map(portText));
  const free = (h: HostSnapshot): HostSnapshot => ({
    ...h,
    ports: h.ports.filter((p) => !ports.has(p)),
    used: {
      ...h.used,
      cpuMillis: h.used.cpuMillis - own.cpuMillis,
      memoryMiB: h.used.memoryMiB - own.memoryMiB,
    },
  });
  return { ...snapshot, hosts: snapshot.hosts.map((h) => (h.id === host.id ? free(h) : h)) };
}
