import type { OperationId, ProjectId, Snapshot, SnapshotId, SnapshotTaken } from '@berth/model';
import type { Db } from './db.js';
import { read } from './db.js';

interface SnapshotRow {
  id: SnapshotId;
  project: string;
  instance: string;
  name: string;
  actor: string;
  scheduled_for: Date | null;
  state: Snapshot['state'];
  taken: SnapshotTaken | null;
  memory: boolean;
  booked_mib: number;
  disks: Snapshot['disks'];
  operation_id: OperationId | null;
  resource_version: number;
  created_at: Date;
}
type Row = SnapshotRow & Record<string, unknown>;

const from = `SELECT s.*, p.name AS project, i.name AS instance,
    (SELECT jsonb_agg(jsonb_build_object('volumeId', v.id, 'volume', v.name, 'root', d.index = 0, 'sizeMiB', d.size_mib) ORDER BY d.index)
     FROM snapshot_disks d JOIN volumes v ON v.id = d.volume_id WHERE d.snapshot_id = s.id) AS disks
  FROM snapshots s JOIN projects p ON p.id = s.project_id JOIN instances i ON i.id = s.instance_id`;

const toSnapshot = (s: SnapshotRow): Snapshot => ({
  id: s.id,
  project: s.project,
  instance: s.instance,
  name: s.name,
  actor: s.actor,
  scheduledFor: s.scheduled_for?.toISOString() ?? null,
  state: s.state,
  consistency: s.taken?.consistency ?? null,
  indications: s.taken?.indications ?? [],
  takenAt: s.taken?.takenAt ?? null,
  memory: s.memory,
  memoryMiB: s.taken?.memory?.sizeMiB ?? null,
  stoodStillMs: s.taken?.memory?.stoodStillMs ?? null,
  bookedMiB: s.booked_mib,
  disks: s.disks,
  operationId: s.operation_id,
  resourceVersion: s.resource_version,
  createdAt: s.created_at.toISOString(),
});

/** Of one instance, the oldest first. */
export async function snapshotList(
  db: Db,
  projectId: ProjectId,
  instance: string,
): Promise<readonly Snapshot[]> {
  const rows = await read<Row>(
    db,
    `${from} WHERE s.project_id = $1 AND i.name = $2 ORDER BY s.created_at, s.id`,
    [projectId, instance],
  );
  return rows.map(toSnapshot);
}

export async function snapshotGet(
  db: Db,
  projectId: ProjectId,
  instance: string,
  name: string,
): Promise<Snapshot | null> {
  const [row] = await read<Row>(db, `${from} WHERE s.project_id = $1 AND i.name = $2 AND s.name = $3`, [
    projectId,
    instance,
    name,
  ]);
  return row === undefined ? null : toSnapshot(row);
}
