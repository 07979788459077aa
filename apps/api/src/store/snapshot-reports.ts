import type { HostId, ProjectId, Snapshot, SnapshotId, SnapshotTaken } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx } from './db.js';
import { eventsWrite } from './events.js';
import { assignmentsRaise, instanceForRequest } from './instance-change.js';
import { operationEnd, stepWrite } from './operations.js';
import type { SnapshotOrderRow, SnapshotReport } from './rows.js';
import { goOn } from './snapshot-memory.js';
import { lateClear, lateWrite } from './snapshot-schedules.js';
import { instanceLock } from './state.js';

interface Ordered {
  id: SnapshotId;
  project_id: ProjectId;
  instance_id: string;
  instance: string;
  name: string;
  state: Snapshot['state'];
  scheduled_for: Date | null;
  memory: boolean;
}

const untouched = { changed: false, freed: false };

/**
 * What a host says of an order, which is known by its operation. One that is no longer asked for, and what an older session
 * says, changes nothing. A deadline that failed the operation meanwhile does not undo what is true.
 * @see DispatchStore.snapshotReport
 */
export async function snapshotReport(
  db: Db,
  { hostId, session, orderId, outcome }: SnapshotReport,
): Promise<{ changed: boolean; freed: boolean }> {
  return inTx(db, async (tx) => {
    const named = await tx.row<{ instance_id: string }>(
      `SELECT instance_id FROM snapshots WHERE operation_id = $1 AND host_id = $2`,
      [orderId, hostId],
    );
    if (named === null || !(await instanceLock(tx, named.instance_id))) return untouched;
    const s = await tx.row<Ordered & Record<string, unknown>>(
      `SELECT s.id, s.project_id, s.instance_id, i.name AS instance, s.name, s.state, s.scheduled_for, s.memory FROM snapshots s
       JOIN instances i ON i.id = s.instance_id JOIN hosts h ON h.id = s.host_id AND h.session = $3
       WHERE s.operation_id = $1 AND s.host_id = $2`,
      [orderId, hostId, session],
    );
    if (s === null) return untouched;
    const ctx = { actor: 'system:dispatch', traceId: `session-${session}` };
    const { state } = outcome;
    if (state === 'retrying') {
      await stepWrite(tx, orderId, { name: 'retrying', message: outcome.message });
      return untouched;
    }
    // A removal goes on until it is done, and of what was taken is told what it is.
    const taken = outcome.state === 'done' ? outcome.taken : null;
    if (state === 'failed' ? s.state === 'deleting' : s.state === 'creating' && taken === null)
      return untouched;
    if (state === 'failed') {
      const { code, message, remedy } = outcome;
      await operationEnd(tx, ctx, orderId, {
        state: 'failed',
        error: { code, message, ...(remedy === undefined ? {} : { remedy }) },
      });
      if (s.scheduled_for !== null && s.state === 'creating')
        await lateWrite(tx, s.instance_id, {
          reason: code,
          message: `snapshot "${s.name}" could not be taken: ${message}`,
          ...(remedy === undefined ? {} : { remedy }),
        });
    } else await operationEnd(tx, ctx, orderId, { state: 'succeeded' });
    if (s.scheduled_for !== null && state === 'done' && s.state === 'creating')
      await lateClear(tx, s.instance_id);
    const freed = await settle(tx, s, taken, state === 'done');
    if (state === 'done') await told(tx, ctx, s, orderId, taken);
    await assignmentsRaise(tx, [hostId]);
    const goesOn = state === 'done' && s.state === 'reverting' && s.memory;
    if (goesOn)
      await goOn(tx, ctx, await instanceForRequest(tx, { projectId: s.project_id, name: s.instance }));
    // Who goes on waits for a place, as who waits for room does.
    return { changed: true, freed: freed || goesOn };
  });
}

/** Where an order that is over leaves its snapshot. Returns whether room became free. */
async function settle(tx: Tx, s: Ordered, taken: SnapshotTaken | null, done: boolean): Promise<boolean> {
  const gone = s.state === 'deleting' || (s.state === 'creating' && !done);
  if (gone) {
    await tx.changed(`DELETE FROM snapshots WHERE id = $1`, [s.id]);
    return true;
  }
  await tx.changed(
    `UPDATE snapshots SET state = 'ready', operation_id = NULL, taken = coalesce($2, taken),
       booked_mib = least(booked_mib, coalesce($3, booked_mib)), resource_version = resource_version + 1 WHERE id = $1`,
    [s.id, taken === null ? null : JSON.stringify(taken), taken?.heldMiB ?? null],
  );
  return s.state === 'creating';
}

const past = { creating: 'created', reverting: 'reverted', deleting: 'deleted', ready: 'ready' } as const;

function told(
  tx: Tx,
  ctx: RequestContext,
  s: Ordered,
  operationId: string,
  taken: SnapshotTaken | null,
): Promise<void> {
  return eventsWrite(tx, ctx, [
    {
      class: 'lifecycle',
      type: `snapshot.${past[s.state]}`,
      projectId: s.project_id,
      object: { kind: 'snapshot', id: s.id, name: s.name },
      operationId,
      data: { instance: s.instance, ...(taken === null ? {} : { consistency: taken.consistency }) },
    },
  ]);
}

/** What its host is asked of snapshots. @see DispatchStore.assignmentsRead */
export function ordersRead(tx: Tx, hostId: HostId): Promise<readonly SnapshotOrderRow[]> {
  return tx.rows<SnapshotOrderRow & Record<string, unknown>>(
    `SELECT o.id, s.state, s.instance_id AS "instanceId", s.id AS "snapshotId",
       (SELECT array_agg(d.volume_id ORDER BY d.index) FROM snapshot_disks d WHERE d.snapshot_id = s.id) AS volumes, s.memory
     FROM snapshots s JOIN operations o ON o.id = s.operation_id
     JOIN instances i ON i.id = s.instance_id AND i.deleting_since IS NULL
     WHERE s.host_id = $1 ORDER BY o.created_at, o.id`,
    [hostId],
  );
}
