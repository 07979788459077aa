import { faultPoint } from '@berth/faults';
import {
  type ChangePreview,
  fieldChanges,
  type Instance,
  type InstanceCreate,
  type InstanceSpec,
  type Labels,
  type Operation,
  type ProjectId,
} from '@berth/model';
import type { HttpDeps } from '../http/deps.js';
import type { InstanceChange, RequestContext, Verb } from '../store/store.js';
import { refuseUnsupported, refuseVerb } from './unsupported.js';
import { refuseUserData } from './user-data.js';

/*
 * Requests on instances: what is asked for becomes wanted state in one transaction of the store, then the rooms that act
 * on it are woken. Waking is a hint; timers heal a lost one.
 */

type Deps = Pick<HttpDeps, 'store' | 'wake' | 'config' | 'traces'>;

/** Which instance, and which version of it the caller has seen. */
export interface Target {
  readonly projectId: ProjectId;
  readonly name: string;
  readonly ifMatch?: number;
}

/** What a host may need to copy a disk, beside all that a start needs. */
const copySeconds = 3_600;

/** @throws nameTaken, invalid, unsupported, unavailable, stateConflict, noRoom */
export async function instanceCreate(
  deps: Deps,
  ctx: RequestContext,
  projectId: ProjectId,
  body: InstanceCreate,
): Promise<InstanceChange> {
  await refuseImpossible(deps.store, body.spec);
  const copy = body.spec.rootDisk.source === undefined ? 0 : copySeconds;
  const deadlineSeconds = deps.config.deadlineSeconds.start + copy;
  const begun = deps.traces.now();
  const made = await deps.store.instanceCreate(ctx, { projectId, body, deadlineSeconds });
  return woken(deps, body.name, traced(deps, begun, made));
}

/** Refuses what no host of this cluster can do. @throws unsupported, invalid */
export async function refuseImpossible(
  store: Pick<HttpDeps['store'], 'hostList'>,
  spec: InstanceSpec,
): Promise<void> {
  refuseUserData(spec);
  const asks = spec.desired === 'paused' || spec.resources !== undefined;
  refuseUnsupported(spec, asks ? await store.hostList() : []);
}

/** @throws notFound, preconditionFailed, stateConflict, invalid, conflict, inUse, noRoom */
export async function instanceUpdate(
  deps: Deps,
  ctx: RequestContext,
  target: Target,
  change: { readonly spec: InstanceSpec; readonly labels?: Labels },
): Promise<InstanceChange> {
  refuseUserData(change.spec);
  const deadlineSeconds = deps.config.deadlineSeconds.start;
  const updated = await deps.store.instanceUpdate(ctx, { ...target, ...change, deadlineSeconds });
  return woken(deps, target.name, updated);
}

/** What `instanceUpdate` would do, and all that it refuses; nothing is changed. */
export async function instanceUpdatePreview(
  deps: Deps,
  ctx: RequestContext,
  target: Target,
  change: { readonly spec: InstanceSpec; readonly labels?: Labels },
): Promise<ChangePreview> {
  refuseUserData(change.spec);
  const update = { ...target, ...change, deadlineSeconds: deps.config.deadlineSeconds.start };
  const { was, wanted, runs, has } = await deps.store.instanceUpdatePreview(ctx, update);
  const changes = fieldChanges(was, wanted, has ?? undefined);
  return { changes, restartRequired: runs && changes.some((c) => c.effect === 'nextStart') };
}

/** @throws notFound, preconditionFailed, stateConflict, unsupported */
export async function instanceAct(
  deps: Deps,
  ctx: RequestContext,
  target: Target,
  asked: { readonly instance: Instance; readonly verb: Verb; readonly graceSeconds?: number },
): Promise<InstanceChange> {
  const { instance, verb, ...grace } = asked;
  const host = instance.status.host;
  refuseVerb(verb, instance.spec.isolation, host === null ? null : await deps.store.hostById(host.id));
  const { start, stop } = deps.config.deadlineSeconds;
  const deadlineSeconds = verb === 'stop' || verb === 'pause' ? stop : start;
  const begun = deps.traces.now();
  const change = await deps.store.instanceAct(ctx, { ...target, ...grace, verb, deadlineSeconds });
  return woken(deps, target.name, traced(deps, begun, change));
}

/** @param image name of another image; its own when absent. @throws notFound, preconditionFailed, invalid, stateConflict */
export async function instanceRebuild(
  deps: Deps,
  ctx: RequestContext,
  target: Target,
  image?: string,
): Promise<InstanceChange> {
  const deadlineSeconds = deps.config.deadlineSeconds.start;
  const begun = deps.traces.now();
  const asked = { ...target, deadlineSeconds, ...(image === undefined ? {} : { image }) };
  const change = await deps.store.instanceRebuild(ctx, asked);
  return woken(deps, target.name, traced(deps, begun, change));
}

/** @throws notFound, preconditionFailed */
export async function instanceDelete(
  deps: Deps,
  ctx: RequestContext,
  target: Target & { readonly graceSeconds?: number },
): Promise<{ operation: Operation; gone: boolean }> {
  const deadlineSeconds = deps.config.deadlineSeconds.delete;
  const deleted = await deps.store.instanceDelete(ctx, { ...target, deadlineSeconds });
  return woken(deps, target.name, deleted);
}

function traced(deps: Deps, begun: number, change: InstanceChange): InstanceChange {
  const { operation, instance } = change;
  deps.traces.begin(operation, instance.id, begun);
  return change;
}

/** After the commit: whoever acts on it is told. */
export async function woken<T extends { readonly hosts: InstanceChange['hosts'] }>(
  deps: Pick<HttpDeps, 'wake'>,
  name: string,
  change: T,
): Promise<T> {
  await faultPoint('api.request.committed', name);
  deps.wake.ledger();
  deps.wake.scheduler();
  for (const host of change.hosts) deps.wake.dispatch(host);
  return change;
}
