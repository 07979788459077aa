import type { HostId, ProjectId, SnapshotSchedule } from '@berth/model';
import { BerthError, snapshotsLateType } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, isDuplicate, read } from './db.js';
import { eventsWrite, instanceObject } from './events.js';
import { instanceForRequest, live, type Locked } from './instance-change.js';
import { nameTaken } from './refusals.js';
import { scheduledName, snapshotPlan, type Scheduled } from './snapshot-plan.js';
import { snapshotBegin, snapshotDelete } from './snapshots.js';

/*
 * Snapshots by schedule. How far a schedule was seen to is written in the transaction that asks for the snapshot, with the
 * instance locked: whoever dies, and however many APIs look, there is one of each moment at most. What is refused is tried
 * again at the next look, until the next moment is there; what the host gave up is not.
 */

/** As for those that users ask for. */
const deadlineSeconds = 600;

const ctx: RequestContext = { actor: 'system:snapshots', traceId: 'snapshots' };

interface Due {
  id: string;
  name: string;
  project_id: ProjectId;
}

/** @see ReconcileStore.snapshotSchedulesAdvance */
export async function snapshotSchedulesAdvance(db: Db): Promise<readonly HostId[]> {
  const all = await read<Due & Record<string, unknown>>(
    db,
    `SELECT id, name, project_id FROM instances WHERE spec ? 'snapshots' AND deleting_since IS NULL ORDER BY id`,
  );
  const hosts = new Set<HostId>();
  const failures: unknown[] = [];
  for (const one of all) {
    // What fails for one keeps none of the others waiting. A host that is not woken then looks by itself.
    const asked = await advance(db, one).catch((error: unknown) => {
      failures.push(error);
      return [];
    });
    for (const host of asked) hosts.add(host);
  }
  if (failures.length > 0) throw new AggregateError(failures, 'schedules of snapshots could not be seen to');
  return [...hosts];
}

async function advance(db: Db, { id, name, project_id: projectId }: Due): Promise<readonly HostId[]> {
  const hosts: HostId[] = [];
  const look = await inTx(db, (tx) => looked(tx, id));
  if (look === null) return [];
  if (look.take !== null)
    try {
      hosts.push(...(await inTx(db, (tx) => taken(tx, { projectId, name }))));
    } catch (cause) {
      // Somebody may have given the name to a snapshot of theirs.
      const error = isDuplicate(cause, 'snapshots_instance_id_name_key')
        ? nameTaken('snapshot', scheduledName(look.take))
        : cause;
      if (!(error instanceof BerthError)) throw error;
      const { publicMessage: message } = error;
      const { remedy } = error.options;
      await inTx(db, (tx) =>
        lateWrite(tx, id, { reason: error.code, message, ...(remedy === undefined ? {} : { remedy }) }),
      );
    }
  for (const old of look.remove)
    try {
      const target = { projectId, instance: name, name: old, deadlineSeconds };
      hosts.push(...(await snapshotDelete(db, ctx, target)).hosts);
    } catch (error) {
      // A disk has yet to begin from it, or somebody else was faster: the next look decides anew.
      if (!(error instanceof BerthError)) throw error;
    }
  return hosts;
}

interface Standing {
  schedule: SnapshotSchedule | null;
  seen_to: Date | null;
  has: (Omit<Scheduled, 'scheduledFor'> & { scheduledFor: string })[] | null;
}

/** What is to be done; null where there is no schedule any more. */
async function looked(tx: Tx, instanceId: string): Promise<ReturnType<typeof snapshotPlan> | null> {
  const i = await tx.row<Standing & Record<string, unknown>>(
    `SELECT i.spec->'snapshots' AS schedule, i.snapshots_seen_to AS seen_to,
       (SELECT jsonb_agg(jsonb_build_object('name', s.name, 'state', s.state, 'scheduledFor', s.scheduled_for))
        FROM snapshots s WHERE s.instance_id = i.id AND s.scheduled_for IS NOT NULL) AS has
     FROM instances i WHERE i.id = $1 AND i.deleting_since IS NULL`,
    [instanceId],
  );
  if (i === null || i.schedule === null || i.seen_to === null) return null;
  const has = (i.has ?? []).map((s) => ({ ...s, scheduledFor: new Date(s.scheduledFor) }));
  return snapshotPlan(i.schedule, tx.now, i.seen_to, has);
}

/** Looks again with the instance locked, and asks for the snapshot that is due. @throws BerthError as a request would be refused */
async function taken(tx: Tx, at: { projectId: ProjectId; name: string }): Promise<readonly HostId[]> {
  const i = await instanceForRequest(tx, at);
  const take = (await looked(tx, i.id))?.take ?? null;
  if (take === null) return [];
  // What does not run changes nothing; its snapshots would only drive out those that differ.
  if (!live(i) || i.power === 'suspended' || i.desired === 'stopped') {
    await seenTo(tx, i, take);
    return [];
  }
  const change = await snapshotBegin(tx, ctx, i, { name: scheduledName(take), deadlineSeconds }, take);
  await seenTo(tx, i, take);
  return change.hosts;
}

async function seenTo(tx: Tx, i: Locked, moment: Date): Promise<void> {
  await tx.changed(`UPDATE instances SET snapshots_seen_to = $2 WHERE id = $1`, [i.id, moment]);
}

/** Why the last one was not taken. It is told once, until there is another reason. */
export async function lateWrite(
  tx: Tx,
  instanceId: string,
  why: { readonly reason: string; readonly message: string; readonly remedy?: string },
): Promise<void> {
  const condition = { type: snapshotsLateType, ...why };
  const told = await tx.row<{ id: string; name: string; project_id: ProjectId }>(
    `UPDATE instances SET snapshots_failure = $2::jsonb || jsonb_build_object('since', $3::text)
     WHERE id = $1 AND (snapshots_failure IS NULL OR snapshots_failure - 'since' <> $2::jsonb) RETURNING id, name, project_id`,
    [instanceId, JSON.stringify(condition), tx.now.toISOString()],
  );
  if (told === null) return;
  await eventsWrite(tx, ctx, [
    {
      class: 'lifecycle',
      type: 'instance.snapshotsLate',
      projectId: told.project_id,
      object: instanceObject(told),
      data: { ...why },
    },
  ]);
}

/** One was taken by schedule. */
export async function lateClear(tx: Tx, instanceId: string): Promise<void> {
  await tx.changed(
    `UPDATE instances SET snapshots_failure = NULL WHERE id = $1 AND snapshots_failure IS NOT NULL`,
    [instanceId],
  );
}
