import { BerthError } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Tx } from './db.js';

/*
 * What ties a request's Idempotency-Key to its work, in the transaction of that work: either all of it happened, with an answer
 * for whoever repeats the request, or nothing did.
 */

/** Ties the key to an operation, from which the answer can be made again. @throws idempotencyInProgress */
export async function keyCommit(tx: Tx, ctx: RequestContext, operationId: string): Promise<void> {
  if (ctx.idempotency === undefined) return;
  const { scope, key } = ctx.idempotency;
  const committed = await tx.changed(
    `UPDATE idempotency_keys SET state = 'committed', operation_id = $3 WHERE scope = $1 AND key = $2 AND state = 'begun'`,
    [scope, key, operationId],
  );
  if (committed === 0) throw overtaken();
}

/** Keeps the answer, made from what this transaction writes. @throws idempotencyInProgress */
export async function keyAnswer(tx: Tx, ctx: RequestContext, made: unknown): Promise<void> {
  if (ctx.idempotency?.answerOf === undefined) return;
  const { scope, key, answerOf } = ctx.idempotency;
  const { status, answer, headers } = answerOf(made);
  const done = await tx.changed(
    `UPDATE idempotency_keys SET state = 'done', status = $3, answer = $4, headers = $5
     WHERE scope = $1 AND key = $2 AND state = 'begun'`,
    [scope, key, status, JSON.stringify(answer ?? null), JSON.stringify(headers)],
  );
  if (done === 0) throw overtaken();
}

/** A repeat of the request took the key over and was faster: this one must undo. */
const overtaken = (): BerthError =>
  new BerthError('idempotencyInProgress', 'A repeat of this request was carried out in its place.', {
    remedy: 'Repeat the request once more to get its answer.',
  });
