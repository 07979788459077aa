import type { ExitInfo, HostId, InstanceId } from '@berth/model';
import { BerthError } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db } from './db.js';
import { inTx, read } from './db.js';
import { eventsWrite } from './events.js';
import { assignmentsRaise } from './instance-change.js';
import { reconcileContext } from './instance-delete.js';
import { notFound } from './refusals.js';
import { nicsRelease } from './live-nics.js';
import { volumesRelease } from './volume-claims.js';
import { instanceLock, stateRefresh } from './state.js';

/*
 * A host that is not heard changes what is known of its instances, never where they are. The host's row and each
 * instance are separate transactions: writers lock instance before host, so holding the host here could deadlock.
 * What a crash leaves between them, the next round of hostsSilentMark finds.
 */

/** Instances with a live placement on a host. */
export async function instancesOn(db: Db, hostId: HostId): Promise<readonly string[]> {
  const rows = await read<{ id: string }>(
    db,
    `SELECT DISTINCT instance_id AS id FROM placements WHERE host_id = $1 AND phase <> 'ended'`,
    [hostId],
  );
  return rows.map((r) => r.id);
}

export async function instancesRefresh(
  db: Db,
  ids: readonly string[],
  ctx: RequestContext = reconcileContext,
): Promise<void> {
  for (const id of ids)
    await inTx(db, async (tx) => {
      if (await instanceLock(tx, id)) await stateRefresh(tx, ctx, id);
    });
}

export async function hostsSilentMark(db: Db, graceMs: number): Promise<readonly HostId[]> {
  const marked = await inTx(db, async (tx) => {
    const hosts = await tx.rows<{ id: HostId; name: string }>(
      `UPDATE hosts SET silent_since = $1, resource_version = resource_version + 1, updated_at = $1
       WHERE silent_since IS NULL AND removed_at IS NULL AND last_seen_at < $2 RETURNING id, name`,
      [tx.now, new Date(tx.now.getTime() - graceMs)],
    );
    await eventsWrite(
      tx,
      reconcileContext,
      hosts.map((h) => ({
        class: 'lifecycle',
        type: 'host.silent',
        projectId: null,
        object: { kind: 'host', id: h.id, name: h.name },
      })),
    );
    return hosts.map((h) => h.id);
  });
  // Both ways: what became unknown, and what a crash left unknown after its host came back.
  const differing = await read<{ id: string }>(
    db,
    `SELECT i.id FROM instances i JOIN placements p ON p.instance_id = i.id AND p.epoch = i.owner_epoch AND p.phase <> 'ended'
     JOIN hosts h ON h.id = p.host_id WHERE (h.silent_since IS NOT NULL) <> (i.conditions @> '[{"type": "HostUnreachable"}]')`,
  );
  await instancesRefresh(
    db,
    differing.map((d) => d.id),
  );
  return marked;
}

/** @see ReconcileStore.placementsWithdraw */
export async function placementsWithdraw(db: Db): Promise<readonly InstanceId[]> {
  const found = await read<{ id: InstanceId; epoch: number }>(
    db,
    `SELECT p.instance_id AS id, p.epoch FROM placements p JOIN hosts h ON h.id = p.host_id AND h.silent_since IS NOT NULL
     WHERE p.phase <> 'ended' AND p.offered_at IS NULL`,
  );
  const withdrawn: InstanceId[] = [];
  for (const { id, epoch } of found)
    await inTx(db, async (tx) => {
      if (!(await instanceLock(tx, id))) return;
      // "offered_at IS NULL" is checked again under the row's lock: an offer that came first wins.
      const host = await tx.row<{ host_id: string }>(
        `UPDATE placements SET phase = 'ended', closed_by = 'withdrawn', closed_at = $3
         WHERE instance_id = $1 AND epoch = $2 AND phase <> 'ended' AND offered_at IS NULL RETURNING host_id`,
        [id, epoch, tx.now],
      );
      if (host === null) return;
      // No host ever heard of the root volume, so it is free to be made elsewhere. A data volume may be older than this.
      await tx.changed(
        `UPDATE volumes SET host_id = NULL WHERE owner_instance_id = $1 AND kind <> 'data' AND NOT EXISTS
           (SELECT FROM placements WHERE instance_id = $1 AND offered_at IS NOT NULL)`,
        [id],
      );
      await volumesRelease(tx, reconcileContext, id);
      await nicsRelease(tx, id);
      await stateRefresh(tx, reconcileContext, id);
      withdrawn.push(id);
    });
  return withdrawn;
}

/** @see HostStore.fenceRecord */
export async function fenceRecord(
  db: Db,
  ctx: RequestContext,
  fence: { hostId: HostId; bootId: string; method: string; evidence: Record<string, unknown> },
): Promise<{ placementsClosed: number }> {
  const name = await inTx(db, async (tx) => {
    const host = await tx.row<{ name: string; boot_id: string | null }>(
      `SELECT name, boot_id FROM hosts WHERE id = $1 AND removed_at IS NULL FOR UPDATE`,
      [fence.hostId],
    );
    if (host === null) throw notFound('host', fence.hostId);
    if (host.boot_id !== fence.bootId)
      throw new BerthError(
        'stateConflict',
        `host "${host.name}" was last seen in boot ${host.boot_id ?? 'none'}, not ${fence.bootId}`,
      );
    await tx.changed(
      `INSERT INTO fences (id, host_id, boot_id, method, evidence, actor, at) VALUES ($1, $2, $3, $4, $5, $6, $7)
       ON CONFLICT (host_id, boot_id) DO NOTHING`,
      [
        tx.ids.uuid(),
        fence.hostId,
        fence.bootId,
        fence.method,
        JSON.stringify(fence.evidence),
        ctx.actor,
        tx.now,
      ],
    );
    // No session: whatever that boot still sends is stale.
    await tx.changed(
      `UPDATE hosts SET session = NULL, silent_since = coalesce(silent_since, $2) WHERE id = $1`,
      [fence.hostId, tx.now],
    );
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: 'host.fenced',
        projectId: null,
        object: { kind: 'host', id: fence.hostId, name: host.name },
        data: { bootId: fence.bootId, method: fence.method },
      },
    ]);
    return host.name;
  });
  let placementsClosed = 0;
  for (const id of await instancesOn(db, fence.hostId))
    placementsClosed += await inTx(db, async (tx) => {
      if (!(await instanceLock(tx, id))) return 0;
      const exit: ExitInfo = { reason: 'lost', message: `host ${name} was fenced`, at: tx.now.toISOString() };
      const closed = await tx.changed(
        `UPDATE placements SET phase = 'ended', power = 'off', exit = $3, closed_by = 'fence', closed_at = $4
         WHERE instance_id = $1 AND host_id = $2 AND phase <> 'ended'`,
        [id, fence.hostId, JSON.stringify(exit), tx.now],
      );
      await volumesRelease(tx, ctx, id);
      await nicsRelease(tx, id);
      await stateRefresh(tx, ctx, id);
      if (closed > 0) await assignmentsRaise(tx, [fence.hostId]);
      return closed;
    });
  return { placementsClosed };
}
