import type { Phase } from '@berth/model';
import { Phase as phases } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx } from './db.js';
import { isAwaited } from './dependencies.js';
import { sourcesLetGo } from './disk-sources.js';
import { eventsWrite, instanceObject } from './events.js';
import { assignmentsRaise } from './instance-change.js';
import { deletionAdvance } from './instance-delete.js';
import { sizesSeen } from './live-sizes.js';
import { operationEnd } from './operations.js';
import { instanceLock, stateRefresh } from './state.js';
import { nicsRelease } from './live-nics.js';
import { volumesRelease } from './volume-claims.js';
import { volumeBuried } from './volumes.js';
import type { HostId, InstanceId, ProjectId } from '@berth/model';
import type { PlacementReport, ReportOutcome } from './rows.js';

/*
 * A report counts when its session is the host's newest, its (session, seq) is higher than what the placement holds,
 * its epoch lives on that host, and (run, phase) does not go back. Everything else is stale, changes nothing, and may
 * be acknowledged: the agent has said it, or something newer.
 */

interface Reported {
  host: string;
  newest: number | null;
  host_id: string;
  phase: Phase;
  run: number;
  session: number | null;
  seq: number | null;
  project_id: ProjectId;
  name: string;
  deleting: boolean;
  run_generation: number;
  p_generation: number;
}

export async function reportApply(db: Db, report: PlacementReport): Promise<ReportOutcome> {
  return inTx(db, async (tx) => {
    if (!(await instanceLock(tx, report.instanceId))) return { outcome: 'stale', reason: 'epoch' };
    const now = await reportedRead(tx, report);
    const refusal = refusalOf(now, report);
    if (refusal !== null) return { outcome: 'stale', reason: refusal };
    if (now === null || !(await placementReported(tx, report)))
      return { outcome: 'stale', reason: 'session' };
    const ctx: RequestContext = {
      actor: `host:${now.host}`,
      traceId: `session-${report.session}-${report.seq}`,
    };
    await eventsWrite(tx, ctx, [
      {
        class: 'observation',
        type: `placement.${report.phase}`,
        projectId: now.project_id,
        object: instanceObject({ id: report.instanceId, name: now.name }),
        data: {
          epoch: report.epoch,
          run: report.run,
          power: report.power,
          exit: report.exit,
          host: now.host,
        },
      },
    ]);
    await disksSeen(tx, ctx, report);
    const nicsGone = await nicsRelease(tx, report.instanceId);
    const less = await sizesSeen(tx, report);
    const state = await stateRefresh(tx, ctx, report.instanceId, true);
    const ended = report.phase === 'ended';
    if (ended || nicsGone) await assignmentsRaise(tx, [report.hostId]);
    if (ended && now.deleting) await deletionAdvance(tx, ctx, report.instanceId);
    const awaited = await isAwaited(tx, { projectId: now.project_id, name: now.name });
    return {
      outcome: 'applied',
      state,
      freed: ended || less,
      awaited,
      assignmentsChanged: ended || nicsGone,
    };
  });
}

/** What a host says of disks: their sizes, which are let go, and which changes of the spec are put into effect by it. */
async function disksSeen(tx: Tx, ctx: RequestContext, r: PlacementReport): Promise<void> {
  await tx.changed(
    `UPDATE volumes v SET actual_size_mib = s."sizeMiB", resource_version = v.resource_version + 1
     FROM jsonb_to_recordset($2) AS s (id uuid, "sizeMiB" bigint)
     WHERE v.id = s.id AND v.owner_instance_id = $1 AND v.actual_size_mib IS DISTINCT FROM s."sizeMiB"`,
    [r.instanceId, JSON.stringify(r.volumes ?? [])],
  );
  // What a machine has was made.
  await sourcesLetGo(
    tx,
    (r.volumes ?? []).map(({ id }) => id),
  );
  await volumesRelease(tx, ctx, r.instanceId);
  const done = await tx.rows<{ id: string }>(
    `SELECT o.id FROM instance_revisions v JOIN operations o ON o.id = v.operation_id
     WHERE v.instance_id = $1 AND v.generation <= $2 AND o.kind = 'update' AND o.state IN ('pending', 'running')`,
    [r.instanceId, r.phase === 'ended' ? Number.MAX_SAFE_INTEGER : (r.revision ?? 0)],
  );
  for (const { id } of done) await operationEnd(tx, ctx, id, { state: 'succeeded' });
}

async function reportedRead(tx: Tx, r: PlacementReport): Promise<Reported | null> {
  return tx.row<Reported & Record<string, unknown>>(
    `SELECT h.name AS host, h.session AS newest, p.host_id, p.phase, p.run, p.session, p.seq, i.project_id, i.name,
       i.deleting_since IS NOT NULL AS deleting, i.run_generation, p.run_generation AS p_generation
     FROM placements p JOIN instances i ON i.id = p.instance_id JOIN hosts h ON h.id = p.host_id
     WHERE p.instance_id = $1 AND p.epoch = $2 AND p.host_id = $3`,
    [r.instanceId, r.epoch, r.hostId],
  );
}

function refusalOf(
  now: Reported | null,
  r: PlacementReport,
): Extract<ReportOutcome, { outcome: 'stale' }>['reason'] | null {
  if (now === null) return 'epoch';
  if (now.newest !== r.session) return 'session';
  if (now.session !== null && now.seq !== null) {
    const older = r.session < now.session || (r.session === now.session && r.seq <= now.seq);
    if (older) return 'seq';
  }
  // Ended is final: its room may be booked by another already.
  if (now.phase === 'ended') return 'order';
  const rank = (run: number, phase: Phase): number =>
    run * phases.options.length + phases.options.indexOf(phase);
  return rank(r.run, r.phase) < rank(now.run, now.phase) ? 'order' : null;
}

/** The guards once more, in the statement that writes: a session opened meanwhile makes it change nothing. */
async function placementReported(tx: Tx, r: PlacementReport): Promise<boolean> {
  const ended = r.phase === 'ended';
  const changed = await tx.changed(
    `UPDATE placements p SET phase = $4, run = $5, power = $6, exit = coalesce($7, p.exit), conditions = $8, observed_at = $9, driver = coalesce($15, p.driver),
       applied_generation = coalesce($16, p.applied_generation), volumes = coalesce($17, p.volumes), nics = coalesce($18, p.nics), cdroms = coalesce($19, p.cdroms), vsock_cid = $20, numa_host_nodes = $21, uid_range = coalesce($22, p.uid_range),
       session = $10, seq = $11, boot_id = h.boot_id, closed_by = $12, closed_at = $13,
       first_running_at = CASE WHEN $4 = 'running' THEN coalesce(p.first_running_at, $14) ELSE p.first_running_at END
     FROM (SELECT id, boot_id FROM hosts WHERE id = $3 AND session = $10 FOR KEY SHARE) h
     WHERE p.instance_id = $1 AND p.epoch = $2 AND p.host_id = h.id AND p.phase <> 'ended'`,
    [
      r.instanceId,
      r.epoch,
      r.hostId,
      r.phase,
      r.run,
      r.power,
      r.exit === null ? null : JSON.stringify(r.exit),
      JSON.stringify(r.conditions ?? []),
      r.observedAt,
      r.session,
      r.seq,
      ended ? 'report' : null,
      ended ? tx.now : null,
      tx.now,
      r.driver ?? null,
      r.revision ?? null,
      r.volumes === undefined || r.volumes === null ? null : JSON.stringify(r.volumes.map((v) => v.id)),
      r.nics === undefined || r.nics === null ? null : JSON.stringify(r.nics),
      r.cdroms === undefined || r.cdroms === null ? null : JSON.stringify(r.cdroms),
      r.vsockCid ?? null,
      r.numaHostNodes === undefined || r.numaHostNodes === null ? null : JSON.stringify(r.numaHostNodes),
      r.uidRange === undefined || r.uidRange === null ? null : JSON.stringify(r.uidRange),
    ],
  );
  return changed > 0;
}

export async function epochRefused(
  db: Db,
  refusal: { hostId: HostId; session: number; instanceId: InstanceId; epoch: number; highestKnown: number },
): Promise<boolean> {
  return inTx(db, async (tx) => {
    if (!(await instanceLock(tx, refusal.instanceId))) return false;
    const changed = await tx.changed(
      `UPDATE placements p SET phase = 'ended', closed_by = 'refused', closed_at = $5 FROM hosts h
       WHERE h.id = p.host_id AND h.session = $4 AND p.instance_id = $1 AND p.epoch = $2 AND p.host_id = $3 AND p.phase <> 'ended'`,
      [refusal.instanceId, refusal.epoch, refusal.hostId, refusal.session, tx.now],
    );
    if (changed === 0) return false;
    await tx.changed(`UPDATE instances SET epoch_high = greatest(epoch_high, $2) WHERE id = $1`, [
      refusal.instanceId,
      refusal.highestKnown,
    ]);
    const ctx = { actor: 'system:dispatch', traceId: `session-${refusal.session}` };
    await volumesRelease(tx, ctx, refusal.instanceId);
    await nicsRelease(tx, refusal.instanceId);
    await stateRefresh(tx, ctx, refusal.instanceId, true);
    await assignmentsRaise(tx, [refusal.hostId]);
    return true;
  });
}

export async function tombstoneDone(
  db: Db,
  hostId: HostId,
  session: number,
  tombstoneId: string,
): Promise<{ changed: boolean; gone: boolean }> {
  return inTx(db, async (tx) => {
    const named = await tx.row<{ instance_id: string | null; volume_id: string | null }>(
      `SELECT instance_id, volume_id FROM tombstones WHERE id = $1 AND host_id = $2`,
      [tombstoneId, hostId],
    );
    if (named === null || (named.instance_id !== null && !(await instanceLock(tx, named.instance_id))))
      return { changed: false, gone: false };
    const changed = await tx.changed(
      `UPDATE tombstones t SET done_at = $4 FROM hosts h
       WHERE t.id = $1 AND t.host_id = $2 AND t.done_at IS NULL AND h.id = t.host_id AND h.session = $3`,
      [tombstoneId, hostId, session, tx.now],
    );
    if (changed === 0) return { changed: false, gone: false };
    await assignmentsRaise(tx, [hostId]);
    const ctx = { actor: 'system:dispatch', traceId: `session-${session}` };
    if (named.volume_id !== null) await volumeBuried(tx, ctx, named.volume_id);
    if (named.instance_id === null) return { changed: true, gone: true };
    // An instance that is not being deleted owed the root disk that a rebuild took from it.
    const deleting = await tx.row(`SELECT 1 FROM instances WHERE id = $1 AND deleting_since IS NOT NULL`, [
      named.instance_id,
    ]);
    if (deleting === null) return { changed: true, gone: true };
    const { gone } = await deletionAdvance(tx, ctx, named.instance_id);
    return { changed: true, gone };
  });
}
