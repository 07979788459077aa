import type { HostId, Operation, ProjectId } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, read } from './db.js';
import { sourcesLetGo } from './disk-sources.js';
import { eventsWrite, instanceObject } from './events.js';
import {
  assignmentsRaise,
  graceBeyond,
  hostsOf,
  instanceForRequest,
  operationTakes,
  type Locked,
} from './instance-change.js';
import { operationEnd, operationOf } from './operations.js';
import type { InstanceDelete } from './rows.js';
import { snapshotsGoWith } from './snapshot-guards.js';
import { instanceLock, stateRefresh } from './state.js';

/*
 *   deleting_since set -> wanted stopped -> no placement lives -> tombstones (every epoch offered, every volume)
 *   -> hosts acknowledge all -> the row goes, and with it name, addresses and MACs
 * Each arrow is taken by whoever makes it possible; deletionAdvance looks where it stands and goes on from there.
 */

export async function instanceDelete(
  db: Db,
  ctx: RequestContext,
  del: InstanceDelete,
): Promise<{ operation: Operation; gone: boolean; hosts: readonly HostId[] }> {
  return inTx(db, async (tx) => {
    const i = await instanceForRequest(tx, del);
    if (i.deleting_since !== null && i.operation_id !== null) {
      const under = await operationOf(tx, i.operation_id);
      // A second delete joins the one under way; after a deadline it gets an operation of its own.
      if (under.state === 'running' || under.state === 'pending')
        return { operation: under, gone: false, hosts: await graceChange(tx, i, del.graceSeconds) };
    }
    if (i.deleting_since === null) {
      await snapshotsGoWith(tx, ctx, i);
      await sourcesLetGo(tx, await goingWith(tx, i.id));
    }
    const operationId = await operationTakes(
      tx,
      ctx,
      i,
      'delete',
      del.deadlineSeconds + graceBeyond(i.spec, del.graceSeconds),
    );
    await tx.changed(
      `UPDATE instances SET deleting_since = coalesce(deleting_since, $2), operation_id = $3, stop_grace_seconds = $4 WHERE id = $1`,
      [i.id, tx.now, operationId, del.graceSeconds ?? null],
    );
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: 'instance.delete',
        projectId: i.project_id,
        object: instanceObject(i),
        operationId,
      },
    ]);
    await stateRefresh(tx, ctx, i.id, true);
    const { gone, hosts } = await deletionAdvance(tx, ctx, i.id);
    const live = hostsOf(i);
    await assignmentsRaise(tx, live);
    return { operation: await operationOf(tx, operationId), gone, hosts: [...new Set([...live, ...hosts])] };
  });
}

/** A delete that is asked for again may hurry the stop under way. Returns the hosts that are to hear of it. */
async function graceChange(tx: Tx, i: Locked, graceSeconds: number | undefined): Promise<readonly HostId[]> {
  if (graceSeconds === undefined) return [];
  await tx.changed(`UPDATE instances SET stop_grace_seconds = $2 WHERE id = $1`, [i.id, graceSeconds]);
  const hosts = hostsOf(i);
  await assignmentsRaise(tx, hosts);
  return hosts;
}

/** Volumes that are deleted with it. */
async function goingWith(tx: Tx, instanceId: string): Promise<readonly string[]> {
  const rows = await tx.rows<{ id: string }>(
    `SELECT id FROM volumes WHERE owner_instance_id = $1 AND delete_with_instance`,
    [instanceId],
  );
  return rows.map(({ id }) => id);
}

/** Takes the next arrow of a deletion, with the instance locked. Returns hosts that got tombstones. */
export async function deletionAdvance(
  tx: Tx,
  ctx: RequestContext,
  instanceId: string,
): Promise<{ gone: boolean; hosts: readonly HostId[] }> {
  // Never offered: the host cannot know it, so it may end here and now. Once offered, only the host's word ends it.
  const withdrawn = await tx.rows<{ host_id: HostId }>(
    `UPDATE placements SET phase = 'ended', closed_by = 'withdrawn', closed_at = $2
     WHERE instance_id = $1 AND phase <> 'ended' AND offered_at IS NULL RETURNING host_id`,
    [instanceId, tx.now],
  );
  const live = await tx.row(`SELECT 1 FROM placements WHERE instance_id = $1 AND phase <> 'ended'`, [
    instanceId,
  ]);
  if (live !== null) return { gone: false, hosts: [] };
  const hosts = await tombstonesWrite(tx, instanceId);
  await assignmentsRaise(tx, [...new Set([...hosts, ...withdrawn.map((w) => w.host_id)])]);
  const waiting = await tx.row(`SELECT 1 FROM tombstones WHERE instance_id = $1 AND done_at IS NULL`, [
    instanceId,
  ]);
  if (waiting !== null) return { gone: false, hosts };
  await instanceErase(tx, ctx, instanceId);
  return { gone: true, hosts: [] };
}

/** One for every epoch a host was offered and for every volume that may exist there. Hosts that are gone owe nothing. */
async function tombstonesWrite(tx: Tx, instanceId: string): Promise<readonly HostId[]> {
  const owed = await tx.rows<{ host_id: HostId; epoch: number | null; volume_id: string | null }>(
    `SELECT p.host_id, p.epoch, NULL::uuid AS volume_id FROM placements p JOIN hosts h ON h.id = p.host_id AND h.removed_at IS NULL
       WHERE p.instance_id = $1 AND p.offered_at IS NOT NULL
     UNION ALL
     SELECT v.host_id, NULL, v.id FROM volumes v JOIN hosts h ON h.id = v.host_id AND h.removed_at IS NULL
       WHERE v.owner_instance_id = $1 AND v.delete_with_instance
         AND EXISTS (SELECT FROM placements p WHERE p.instance_id = $1 AND p.host_id = v.host_id AND p.offered_at IS NOT NULL)
     ORDER BY 1, 2 NULLS LAST`,
    [instanceId],
  );
  const hosts = new Set<HostId>();
  for (const o of owed) {
    const written = await tx.changed(
      `INSERT INTO tombstones (id, host_id, instance_id, epoch, volume_id, created_at) VALUES ($1, $2, $3, $4, $5, $6)
       ON CONFLICT DO NOTHING`,
      [tx.ids.uuid(), o.host_id, instanceId, o.epoch, o.volume_id, tx.now],
    );
    if (written > 0) hosts.add(o.host_id);
  }
  return [...hosts];
}

/** The row goes; operation, events and revisions stay. */
async function instanceErase(tx: Tx, ctx: RequestContext, instanceId: string): Promise<void> {
  const i = await tx.row<{ project_id: ProjectId; name: string; operation_id: string | null }>(
    `SELECT project_id, name, operation_id FROM instances WHERE id = $1`,
    [instanceId],
  );
  if (i === null) return;
  for (const sql of [
    `DELETE FROM addresses WHERE nic_id IN (SELECT id FROM nics WHERE instance_id = $1)`,
    `DELETE FROM nics WHERE instance_id = $1`,
    `DELETE FROM tombstones WHERE instance_id = $1`,
    `DELETE FROM placements WHERE instance_id = $1`,
    `DELETE FROM decisions WHERE instance_id = $1`,
    `DELETE FROM snapshots WHERE instance_id = $1`,
    `DELETE FROM volumes WHERE owner_instance_id = $1 AND delete_with_instance`,
    `UPDATE volumes SET owner_instance_id = NULL, resource_version = resource_version + 1 WHERE owner_instance_id = $1`,
    `DELETE FROM instances WHERE id = $1`,
  ])
    await tx.changed(sql, [instanceId]);
  if (i.operation_id !== null) await operationEnd(tx, ctx, i.operation_id, { state: 'succeeded' });
  await eventsWrite(tx, ctx, [
    {
      class: 'lifecycle',
      type: 'instance.deleted',
      projectId: i.project_id,
      object: instanceObject({ id: instanceId, name: i.name }),
      operationId: i.operation_id,
    },
  ]);
}

/** @see ReconcileStore.deletionsAdvance */
export async function deletionsAdvance(db: Db): Promise<readonly HostId[]> {
  const waiting = await read<{ id: string }>(db, `SELECT id FROM instances WHERE deleting_since IS NOT NULL`);
  const hosts = new Set<HostId>();
  for (const { id } of waiting) {
    const step = await inTx(db, async (tx) =>
      (await instanceLock(tx, id)) ? deletionAdvance(tx, reconcileContext, id) : null,
    );
    for (const host of step?.hosts ?? []) hosts.add(host);
  }
  return [...hosts];
}
export const reconcileContext: RequestContext = { actor: 'system:reconcile', traceId: 'reconcile' };
