import { Image, Instance, type InstanceId, Operation, Volume } from '@berth/model';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { etagOf } from './etag.js';
import type { HttpDeps } from './deps.js';
import { withTimeLimit } from '../system-clock.js';

const over = new Set<Operation['state']>(['succeeded', 'failed', 'cancelled', 'superseded']);

export const Accepted = z
  .strictObject({ operation: Operation, instance: Instance.nullable().describe('null when it is gone') })
  .meta({ id: 'Accepted' });
export type Accepted = z.infer<typeof Accepted>;

/**
 * Holds on until an operation is over, the client has gone, or the time is up; then the operation as it is. Woken by the
 * ledger: the position is read before the operation, so that what ends between the two reads still wakes.
 */
export async function operationSettled(
  deps: Pick<HttpDeps, 'store' | 'ledger'>,
  operation: Operation,
  waitSeconds: number,
  gone: AbortSignal,
): Promise<Operation> {
  if (waitSeconds === 0 || over.has(operation.state)) return operation;
  return withTimeLimit(gone, waitSeconds * 1000, async (until) => {
    let latest = operation;
    while (!until.aborted) {
      const cursor = deps.ledger.head();
      latest = (await deps.store.operationGet(null, operation.id)) ?? latest;
      if (over.has(latest.state)) return latest;
      await deps.ledger.waitFor(cursor, until);
    }
    return latest;
  });
}

interface Wait {
  readonly seconds: number;
  readonly gone: AbortSignal;
}

/** Waits if asked, and names the operation in `Location`. */
async function settled(
  deps: Pick<HttpDeps, 'store' | 'ledger'>,
  reply: FastifyReply,
  begun: Operation,
  wait: Wait,
): Promise<Operation> {
  const operation = await operationSettled(deps, begun, wait.seconds, wait.gone);
  void reply.header('location', `/v1/operations/${operation.id}`);
  return operation;
}

/** The answer to a mutation of an instance. */
export async function accepted(
  deps: Pick<HttpDeps, 'store' | 'ledger' | 'traces'>,
  reply: FastifyReply,
  change: { readonly operation: Operation; readonly instance: Instance | null },
  wait: Wait,
): Promise<Accepted> {
  deps.traces.request(change.operation.id, reply.elapsedTime);
  const operation = await settled(deps, reply, change.operation, wait);
  const moved = operation !== change.operation;
  const instance = moved ? await deps.store.instanceById(operation.target.id as InstanceId) : change.instance;
  if (instance !== null) void reply.header('etag', etagOf(instance));
  return { operation, instance };
}

export const ImageAccepted = z
  .strictObject({
    operation: Operation,
    image: Image.nullable().describe('null until the operation succeeded'),
  })
  .meta({ id: 'ImageAccepted' });
export type ImageAccepted = z.infer<typeof ImageAccepted>;

/** What a request for an image that takes its time is answered with. */
export const imageRecorded = {
  202: {
    description: 'Recorded; its operation tells how far it is',
    schema: ImageAccepted,
    headers: { location: 'The operation' },
  },
} as const;

/** The same for the import of an image. */
export async function imageAccepted(
  deps: Pick<HttpDeps, 'store' | 'ledger'>,
  reply: FastifyReply,
  begun: Operation,
  wait: Wait,
): Promise<ImageAccepted> {
  const operation = await settled(deps, reply, begun, wait);
  if (operation.state !== 'succeeded') return { operation, image: null };
  const project = await deps.store.projectGet(operation.project);
  const image = project === null ? null : await deps.store.imageGet(project.id, operation.target.name);
  if (image !== null) void reply.header('etag', etagOf(image));
  return { operation, image };
}

export const VolumeAccepted = z
  .strictObject({ operation: Operation, volume: Volume.nullable().describe('null when it is gone') })
  .meta({ id: 'VolumeAccepted' });
export type VolumeAccepted = z.infer<typeof VolumeAccepted>;

/** The same for a volume that its host makes. */
export async function volumeAccepted(
  deps: Pick<HttpDeps, 'store' | 'ledger'>,
  reply: FastifyReply,
  begun: Operation,
  wait: Wait,
): Promise<VolumeAccepted> {
  const operation = await settled(deps, reply, begun, wait);
  const project = await deps.store.projectGet(operation.project);
  const volume = project === null ? null : await deps.store.volumeGet(project.id, operation.target.id);
  if (volume !== null) void reply.header('etag', etagOf(volume));
  return { operation, volume };
}
