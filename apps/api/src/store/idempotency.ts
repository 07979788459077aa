import type { KeptAnswer } from './context.js';
import type { Db } from './db.js';
import { inTx, read } from './db.js';
import { holderGone } from './presence.js';
import type { IdempotencyBegin } from './rows.js';

/*
 *   (none) -> begun -> committed -> done          begun, its holder gone or its lease over -> begun by the next
 *           begun -> done
 * `committed` (with an operation) and `done` (with the answer) are written by the mutation's own transaction (keyed.ts), so
 * a crash before the answer was sent still leads to one object, also when the first one was only thought dead: whoever comes
 * second finds the key no longer begun. While the holder of a committed key lives, the answer is its to give, since only it
 * knows how long it was asked to wait; after it, the answer is made of the operation.
 */

interface KeyRow {
  request_hash: string;
  state: 'begun' | 'committed' | 'done';
  operation_id: string | null;
  status: number | null;
  answer: unknown;
  headers: Record<string, string> | null;
  left: boolean;
}

export async function idempotencyBegin(
  db: Db,
  b: { scope: string; key: string; requestHash: string; leaseSeconds: number; ttlSeconds: number },
): Promise<IdempotencyBegin> {
  return inTx(db, async (tx) => {
    const after = (seconds: number): Date => new Date(tx.now.getTime() + seconds * 1000);
    const begun = await tx.changed(
      `INSERT INTO idempotency_keys AS k (scope, key, request_hash, state, lease_until, created_at, expires_at, holder)
       VALUES ($1, $2, $3, 'begun', $4, $5, $6, $7)
       ON CONFLICT (scope, key) DO UPDATE SET request_hash = excluded.request_hash, state = 'begun', operation_id = NULL, status = NULL,
         answer = NULL, headers = NULL, lease_until = excluded.lease_until, created_at = excluded.created_at, expires_at = excluded.expires_at,
         holder = excluded.holder
       WHERE k.expires_at <= $5 OR (k.state = 'begun' AND k.request_hash = excluded.request_hash
         AND (k.lease_until <= $5 OR ${holderGone('k.holder')}))`,
      [b.scope, b.key, b.requestHash, after(b.leaseSeconds), tx.now, after(b.ttlSeconds), db.presence.holder],
    );
    if (begun > 0) return { outcome: 'begun' };
    const row = await tx.row<KeyRow & Record<string, unknown>>(
      `SELECT request_hash, state, operation_id, status, answer, headers,
         k.lease_until <= $3 OR ${holderGone('k.holder')} AS left
       FROM idempotency_keys k WHERE scope = $1 AND key = $2`,
      [b.scope, b.key, tx.now],
    );
    if (row === null) return { outcome: 'inProgress' };
    if (row.request_hash !== b.requestHash) return { outcome: 'mismatch' };
    if (row.state === 'done')
      return { outcome: 'replay', status: row.status ?? 200, answer: row.answer, headers: row.headers ?? {} };
    if (row.state === 'committed' && row.operation_id !== null && row.left)
      return { outcome: 'committed', operationId: row.operation_id };
    return { outcome: 'inProgress' };
  });
}

export async function idempotencyComplete(
  db: Db,
  d: { scope: string; key: string } & KeptAnswer,
): Promise<KeptAnswer> {
  await read(
    db,
    `UPDATE idempotency_keys SET state = 'done', status = $3, answer = $4, headers = $5
     WHERE scope = $1 AND key = $2 AND state <> 'done'`,
    [d.scope, d.key, d.status, JSON.stringify(d.answer ?? null), JSON.stringify(d.headers)],
  );
  const [kept] = await read<KeptAnswer & Record<string, unknown>>(
    db,
    `SELECT status, answer, headers FROM idempotency_keys WHERE scope = $1 AND key = $2 AND state = 'done'`,
    [d.scope, d.key],
  );
  return kept ?? d;
}

/** Only what never committed can be given up. */
export async function idempotencyAbandon(db: Db, scope: string, key: string): Promise<boolean> {
  const rows = await read(
    db,
    `DELETE FROM idempotency_keys WHERE scope = $1 AND key = $2 AND state = 'begun' RETURNING 1`,
    [scope, key],
  );
  return rows.length > 0;
}

export async function idempotencyTrim(db: Db): Promise<number> {
  const rows = await read(db, `DELETE FROM idempotency_keys WHERE expires_at <= $1 RETURNING 1`, [
    db.clock.now(),
  ]);
  return rows.length;
}
