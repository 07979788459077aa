import type { Operation } from '@berth/model';
import type { Db } from './db.js';
import { inTx, read } from './db.js';
import { reconcileContext } from './instance-delete.js';
import { operationEnd, operationOf } from './operations.js';
import { instanceLock, stateRefresh } from './state.js';

/** A deadline fails the operation and nothing else: what runs, runs, and a late report still counts. */
export async function operationsExpire(db: Db): Promise<readonly Operation[]> {
  const late = await read<{ id: string; target_kind: string; target_id: string }>(
    db,
    `SELECT id, target_kind, target_id FROM operations WHERE state IN ('pending', 'running') AND deadline < $1 ORDER BY deadline LIMIT 500`,
    [db.clock.now()],
  );
  const failed: Operation[] = [];
  for (const op of late)
    await inTx(db, async (tx) => {
      const held = op.target_kind === 'instance' && (await instanceLock(tx, op.target_id));
      const state = held
        ? await tx.row<{ state: string; reason: string | null }>(
            `SELECT state, reason FROM instances WHERE id = $1`,
            [op.target_id],
          )
        : null;
      const where =
        state === null
          ? ''
          : `; the instance is ${state.state}${state.reason === null ? '' : ` (${state.reason})`}`;
      const ended = await operationEnd(tx, reconcileContext, op.id, {
        state: 'failed',
        error: {
          code: 'unavailable',
          message: `not finished by its deadline${where}`,
          remedy: 'nothing was undone: read the object, then ask again or ask for what you want instead',
        },
      });
      if (!ended) return;
      if (held) await stateRefresh(tx, reconcileContext, op.target_id, true);
      failed.push(await operationOf(tx, op.id));
    });
  return failed;
}
