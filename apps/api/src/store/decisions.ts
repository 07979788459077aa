import type { Decision, DecisionId, InstanceId } from '@berth/model';
import type { Db, Tx } from './db.js';
import { inTx, read } from './db.js';
import { reconcileContext } from './instance-delete.js';
import { instanceLock, stateRefresh } from './state.js';

/** The stored answer of one attempt. The body is the model's Decision whole: it binds clients. */
export async function decisionWrite(tx: Tx, decision: Decision): Promise<void> {
  await tx.changed(
    `INSERT INTO decisions (id, instance_id, outcome, host_id, body, at) VALUES ($1, $2, $3, $4, $5, $6)`,
    [
      decision.id,
      decision.instanceId,
      decision.outcome,
      decision.hostId,
      JSON.stringify(decision),
      decision.at,
    ],
  );
}

/**
 * Why an instance waits. A retry with the same reasons replaces the body of the stored row, so that waiting for days
 * leaves one row and not thousands.
 */
export async function decisionInsert(db: Db, decision: Decision): Promise<DecisionId> {
  return inTx(db, async (tx) => {
    // The instance may be gone by now; then there is nobody to explain anything to.
    if (!(await instanceLock(tx, decision.instanceId))) return decision.id;
    const same = await tx.row<{ id: DecisionId }>(
      `UPDATE decisions d SET body = $2 || jsonb_build_object('id', d.id), at = $3, attempts = attempts + 1
       FROM instances i WHERE i.id = $1 AND d.id = i.decision_id AND d.outcome = 'unplaced' AND $4 = 'unplaced'
         AND d.body->'rejected' = $2::jsonb->'rejected' AND d.body->'considered' = $2::jsonb->'considered' RETURNING d.id`,
      [decision.instanceId, JSON.stringify(decision), decision.at, decision.outcome],
    );
    if (same !== null) return same.id;
    await decisionWrite(tx, decision);
    await tx.changed(`UPDATE instances SET decision_id = $2 WHERE id = $1`, [
      decision.instanceId,
      decision.id,
    ]);
    await stateRefresh(tx, { ...reconcileContext, actor: 'system:scheduler' }, decision.instanceId, true);
    return decision.id;
  });
}

export async function decisionGet(db: Db, id: DecisionId): Promise<Decision | null> {
  const [row] = await read<{ body: Decision }>(db, `SELECT body FROM decisions WHERE id = $1`, [id]);
  return row?.body ?? null;
}

export async function decisionList(db: Db, instanceId: InstanceId, limit = 20): Promise<readonly Decision[]> {
  const rows = await read<{ body: Decision }>(
    db,
    `SELECT body FROM decisions WHERE instance_id = $1 ORDER BY at DESC, id DESC LIMIT $2`,
    [instanceId, limit],
  );
  return rows.map((r) => r.body);
}
