import type {
  Capacity,
  Decision,
  DependencySeen,
  HostId,
  ImageKind,
  InstanceId,
  InstanceSpec,
  ProjectId,
} from '@berth/model';
import { resourcesOf, sizesOf } from '@berth/model';
import type { Db, Tx } from './db.js';
import { inTx, read } from './db.js';
import { decisionWrite } from './decisions.js';
import { eventsWrite, instanceObject } from './events.js';
import { capacityLock } from './capacity.js';
import { dependenciesSeen, waitingOf } from './dependencies.js';
import { usedOf } from './host-read.js';
import { portsLook } from './published-ports.js';
import type { PendingInstance, PlacementCommit } from './rows.js';
import { rootRenew } from './instance-rebuild.js';
import { instanceLock, stateRefresh } from './state.js';

/*
 * The placement commit, one READ COMMITTED transaction:
 *   lock the instance -> lock host_capacity (a statement of its own) -> look again at what is booked -> insert
 * Each statement has its own snapshot, so the look comes after every booking that held the lock before us.
 * A guarded INSERT alone over-commits, and so does FOR UPDATE inside that INSERT's own CTE.
 */

const pendingFrom = `
  SELECT i.id, i.project_id, pr.name AS project, i.name, i.spec, m.kind, m.digest AS image_digest, i.generation, i.run_generation, v.host_id, v.homeless_mib, i.created_at,
    i.rebuild_image_id IS NOT NULL AS rebuilding,
    EXISTS (SELECT FROM nics n JOIN addresses a ON a.nic_id = n.id WHERE n.instance_id = i.id AND a.address6 IS NOT NULL) AS ipv6,
    ${dependenciesSeen('i.project_id', `i.spec->'dependsOn'`)} AS depends_seen,
    coalesce((SELECT o.created_at FROM operations o WHERE o.id = i.operation_id), i.created_at) AS waits_since
  FROM instances i JOIN projects pr ON pr.id = i.project_id JOIN images m ON m.id = coalesce(i.rebuild_image_id, i.image_id)
  CROSS JOIN LATERAL (
    -- All on one host, as far as they are on any: volume-claims.ts.
    SELECT (array_agg(host_id) FILTER (WHERE host_id IS NOT NULL))[1] AS host_id,
      coalesce(sum(size_mib) FILTER (WHERE host_id IS NULL), 0)::bigint AS homeless_mib
    FROM volumes WHERE owner_instance_id = i.id
  ) v
  WHERE i.deleting_since IS NULL AND i.desired IN ('running', 'paused')
    AND NOT EXISTS (SELECT FROM placements p WHERE p.instance_id = i.id AND (p.phase <> 'ended'
      OR (p.run_generation >= i.run_generation AND p.closed_by NOT IN ('withdrawn', 'refused'))))`;

interface PendingRow {
  id: InstanceId;
  project_id: ProjectId;
  project: string;
  name: string;
  spec: InstanceSpec;
  kind: ImageKind;
  image_digest: PendingInstance['imageDigest'];
  generation: number;
  run_generation: number;
  host_id: HostId | null;
  homeless_mib: number;
  rebuilding: boolean;
  ipv6: boolean;
  depends_seen: DependencySeen[] | null;
  created_at: Date;
  waits_since: Date;
}

function toPending(r: PendingRow): PendingInstance {
  return {
    id: r.id,
    projectId: r.project_id,
    project: r.project,
    name: r.name,
    spec: r.spec,
    imageKind: r.kind,
    imageDigest: r.image_digest,
    generation: r.generation,
    runGeneration: r.run_generation,
    resources: { ...resourcesOf(r.spec), diskMiB: r.homeless_mib },
    volumeHostId: r.host_id,
    ipv6: r.ipv6,
    waitsFor: waitingOf(r.depends_seen),
    createdAt: r.created_at,
    waitsSince: r.waits_since,
  };
}
type Row = PendingRow & Record<string, unknown>;

export async function pendingInstances(db: Db, limit: number): Promise<readonly PendingInstance[]> {
  return (await read<Row>(db, `${pendingFrom} ORDER BY i.created_at, i.id LIMIT $1`, [limit])).map(toPending);
}

export async function pendingInstance(db: Db, id: InstanceId): Promise<PendingInstance | null> {
  const [row] = await read<Row>(db, `${pendingFrom} AND i.id = $1`, [id]);
  return row === undefined ? null : toPending(row);
}

export interface CommitRequest {
  readonly instanceId: InstanceId;
  readonly hostId: HostId;
  readonly runGeneration: number;
  readonly decision: Decision;
}

export async function placementCommit(db: Db, commit: CommitRequest): Promise<PlacementCommit> {
  return inTx(db, async (tx) => {
    if (!(await instanceLock(tx, commit.instanceId))) return stale('the instance is gone');
    const row = await tx.row<Row>(`${pendingFrom} AND i.id = $1`, [commit.instanceId]);
    if (row === null) return stale('the instance no longer waits for a placement');
    const wanting = toPending(row);
    if (wanting.runGeneration !== commit.runGeneration) return stale('a newer run was asked for');
    if (wanting.volumeHostId !== null && wanting.volumeHostId !== commit.hostId)
      return stale('its volumes are on another host');
    if (wanting.waitsFor !== null) return stale(wanting.waitsFor.message);
    if (row.rebuilding) await rootRenew(tx, commit.instanceId);
    await capacityLock(tx, commit.hostId);
    const refused = await roomLook(tx, commit.hostId, wanting);
    return refused ?? placementWrite(tx, commit, wanting);
  });
}

const stale = (reason: string): PlacementCommit => ({ outcome: 'stale', reason });

interface Room {
  cpu_millis: number;
  memory_mib: number;
  disk_mib: number;
  used_cpu: number;
  used_memory: number;
  used_disk: number;
  schedulable: boolean;
  away: boolean;
}

async function roomLook(tx: Tx, hostId: HostId, wanting: PendingInstance): Promise<PlacementCommit | null> {
  const need = wanting.resources;
  const room = await tx.row<Room & Record<string, unknown>>(
    `SELECT c.cpu_millis, c.memory_mib, c.disk_mib, u.*, h.schedulable,
       h.silent_since IS NOT NULL OR h.revoked_at IS NOT NULL OR h.session IS NULL AS away
     FROM hosts h JOIN host_capacity c ON c.host_id = h.id CROSS JOIN LATERAL (${usedOf('h.id')}) u
     WHERE h.id = $1 AND h.removed_at IS NULL`,
    [hostId],
  );
  const none: Capacity = { cpuMillis: 0, memoryMiB: 0, diskMiB: 0 };
  if (room === null) return { outcome: 'full', reason: 'the host is gone', free: none };
  const free: Capacity = {
    cpuMillis: room.cpu_millis - room.used_cpu,
    memoryMiB: room.memory_mib - room.used_memory,
    diskMiB: room.disk_mib - room.used_disk,
  };
  const reason = room.away
    ? 'the host is silent'
    : !room.schedulable
      ? 'the host takes no new placements'
      : need.cpuMillis > free.cpuMillis
        ? `cpu: need ${need.cpuMillis}, have ${free.cpuMillis} thousandths`
        : need.memoryMiB > free.memoryMiB
          ? `memory: need ${need.memoryMiB}, have ${free.memoryMiB} MiB`
          : // A volume that lives here already needs no more disk, even where the host has become smaller.
            need.diskMiB > 0 && need.diskMiB > free.diskMiB
            ? `disk: need ${need.diskMiB}, have ${free.diskMiB} MiB`
            : ((await portsLook(tx, hostId, wanting))?.message ?? null);
  return reason === null ? null : { outcome: 'full', reason, free };
}

async function placementWrite(tx: Tx, commit: CommitRequest, i: PendingInstance): Promise<PlacementCommit> {
  const ctx = { actor: 'system:scheduler', traceId: commit.decision.id };
  await decisionWrite(tx, commit.decision);
  const spent = await tx.row<{ epoch: number }>(
    `UPDATE instances SET epoch_high = epoch_high + 1, decision_id = $2 WHERE id = $1 RETURNING epoch_high AS epoch`,
    [i.id, commit.decision.id],
  );
  const epoch = spent?.epoch ?? 0;
  await tx.changed(
    `INSERT INTO placements (instance_id, epoch, host_id, role, generation, run_generation, cpu_millis, memory_mib, disk_mib, sizes, decision_id, created_at)
     VALUES ($1, $2, $3, 'owner', $4, $5, $6, $7, $8, $9, $10, $11)`,
    [
      i.id,
      epoch,
      commit.hostId,
      i.generation,
      i.runGeneration,
      i.resources.cpuMillis,
      i.resources.memoryMiB,
      i.resources.diskMiB,
      JSON.stringify(sizesOf(i.spec)),
      commit.decision.id,
      tx.now,
    ],
  );
  await tx.changed(
    `UPDATE volumes SET host_id = $2, resource_version = resource_version + 1
     WHERE owner_instance_id = $1 AND host_id IS NULL`,
    [i.id, commit.hostId],
  );
  await eventsWrite(tx, ctx, [
    {
      class: 'lifecycle',
      type: 'placement.made',
      projectId: i.projectId,
      object: instanceObject(i),
      data: { epoch, hostId: commit.hostId, host: commit.decision.host, decisionId: commit.decision.id },
    },
  ]);
  await stateRefresh(tx, ctx, i.id, true);
  const host = await tx.row<{ rev: number }>(
    `UPDATE hosts SET assignment_rev = assignment_rev + 1 WHERE id = $1 RETURNING assignment_rev AS rev`,
    [commit.hostId],
  );
  return { outcome: 'placed', epoch, assignmentRev: host?.rev ?? 0 };
}
