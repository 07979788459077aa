import { faultPoint } from '@berth/faults';
import {
  BerthError,
  isWatchdogHold,
  operationError,
  type Instance,
  type Operation,
  type OperationKind,
  type ProjectId,
} from '@berth/model';
import type { HttpDeps } from '../http/deps.js';
import type { RequestContext } from '../store/store.js';

/** The host takes at most half of it. */
const deadlineSeconds = 60;

/**
 * Actions that are no wanted state: nobody keeps them for later. The operation is recorded first, with the request's
 * Idempotency-Key, so that a repeat asks for nothing again; then the host does it at once, or the operation fails with its
 * reason. An API that dies in between leaves the operation to its deadline.
 */
export async function instancePrompt(
  deps: Pick<HttpDeps, 'store' | 'wake'>,
  ctx: RequestContext,
  asked: { readonly projectId: ProjectId; readonly instance: Instance; readonly kind: OperationKind },
  act: () => Promise<void>,
): Promise<{ readonly operation: Operation; readonly instance: Instance | null }> {
  const { store, wake } = deps;
  const { projectId, kind } = asked;
  const { id, name } = asked.instance;
  const target = { kind: 'instance', id, name } as const;
  const begun = await store.operationStart(ctx, { projectId, kind, target, deadlineSeconds });
  wake.ledger();
  await faultPoint('api.request.committed', name);
  const error = await act().then(() => null, refusalOf);
  await store.operationFinish(begun.id, error);
  wake.ledger();
  const operation = (await store.operationGet(projectId, begun.id)) ?? begun;
  return { operation, instance: await store.instanceById(id) };
}

/** Whether it is paused although nobody asked for that, until somebody lets it go on: its watchdog did it. */
export function isHeld({ spec, status }: Instance): boolean {
  return spec.desired === 'running' && status.conditions.some(isWatchdogHold);
}

/** What `resume` asks of an instance that is held: it is wanted running already. @throws BerthError preconditionFailed, unavailable */
export function letGo(
  deps: Pick<HttpDeps, 'store' | 'wake' | 'prompts'>,
  ctx: RequestContext,
  asked: { readonly projectId: ProjectId; readonly instance: Instance; readonly ifMatch?: number },
): ReturnType<typeof instancePrompt> {
  const { instance, ifMatch } = asked;
  if (ifMatch !== undefined && ifMatch !== instance.resourceVersion)
    throw new BerthError('preconditionFailed', `${instance.name} has changed since.`, {
      remedy: 'Read it again, and decide anew.',
    });
  deps.prompts.refuseAway(instance);
  return instancePrompt(deps, ctx, { ...asked, kind: 'resume' }, () =>
    deps.prompts.act(instance, { verb: 'resume' }),
  );
}

/** @throws what is no refusal */
function refusalOf(error: unknown): NonNullable<Operation['error']> {
  if (!(error instanceof BerthError)) throw error;
  return operationError(error);
}
