import { BerthError, type Instance } from '@berth/model';
import { hostWithout, kindOf } from '../http/guest-refusal.js';
import type { HttpDeps } from '../http/deps.js';
import type { InstanceChange, RequestContext, SnapshotTarget } from '../store/store.js';
import { woken } from './requests.js';

/** A host copies tables and waits for a guest to freeze; it may be away for a while. */
const deadlineSeconds = 600;

type Deps = Pick<HttpDeps, 'store' | 'wake'>;
type Target = Omit<SnapshotTarget, 'deadlineSeconds'>;

/** @throws unsupported, nameTaken, stateConflict, noRoom, conflict, unavailable, notFound */
export async function snapshotCreate(
  deps: Deps,
  ctx: RequestContext,
  instance: Instance,
  target: Omit<Target, 'ifMatch'>,
): Promise<InstanceChange> {
  if (instance.spec.isolation !== 'vm')
    throw new BerthError(
      'unsupported',
      `${instance.name} is ${kindOf(instance)}, whose layer has no snapshots.`,
      {
        remedy: 'Copy its files out: GET …/files.',
      },
    );
  const host = await hostWithout(deps.store, instance, 'snapshots');
  if (host !== null)
    throw new BerthError('unsupported', `Host ${host.name} takes no snapshots.`, {
      remedy: 'GET /v1/hosts shows the facets of each host; its agent may be older than this API.',
    });
  const without = target.memory === true ? await hostWithout(deps.store, instance, 'memorySnapshots') : null;
  if (without !== null)
    throw new BerthError('unsupported', `Host ${without.name} takes no snapshots of memory.`, {
      remedy:
        'Leave memory out; GET /v1/hosts shows the facets of each host, whose agent may be older than this API.',
    });
  return woken(deps, target.name, await deps.store.snapshotCreate(ctx, { ...target, deadlineSeconds }));
}

/** @throws notFound, preconditionFailed, stateConflict */
export async function snapshotRevert(
  deps: Deps,
  ctx: RequestContext,
  target: Target,
): Promise<InstanceChange> {
  return woken(deps, target.name, await deps.store.snapshotRevert(ctx, { ...target, deadlineSeconds }));
}

/** @throws notFound, preconditionFailed, stateConflict */
export async function snapshotDelete(
  deps: Deps,
  ctx: RequestContext,
  target: Target,
): Promise<InstanceChange> {
  return woken(deps, target.name, await deps.store.snapshotDelete(ctx, { ...target, deadlineSeconds }));
}
