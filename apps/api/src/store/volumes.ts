import type {
  DiskConsistency,
  HostId,
  OperationId,
  ProjectId,
  Volume,
  VolumeCreate,
  VolumeId,
  VolumeLimits,
  VolumeUpdate,
} from '@berth/model';
import { BerthError, VolumeId as VolumeIdSchema } from '@berth/model';
import { diskRoom } from './capacity.js';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, isDuplicate, read } from './db.js';
import { sourceDisk, sourceFits, sourceHold, sourcesLetGo } from './disk-sources.js';
import { eventsWrite } from './events.js';
import { cloneCancel } from './clone-guards.js';
import { assignmentsRaise } from './instance-change.js';
import { keyAnswer } from './keyed.js';
import { poolNamed } from './pools.js';
import { invalidField, matchVersion, nameTaken, notFound } from './refusals.js';

interface VolumeRow {
  id: string;
  project: string;
  name: string;
  pool: string;
  host_id: string | null;
  host_name: string | null;
  kind: Volume['kind'];
  format: Volume['format'];
  size_mib: number;
  actual_size_mib: number | null;
  limits: VolumeLimits;
  instance: string | null;
  source: Volume['source'];
  source_snapshot_id: string | null;
  cloned_from: string | null;
  clone_operation_id: string | null;
  export_of: string | null;
  export_operation_id: string | null;
  consistency: DiskConsistency | null;
  size_bytes: string | null;
  sha256: string | null;
  expires_at: Date | null;
  delete_with_instance: boolean;
  deleting_since: Date | null;
  resource_version: number;
  created_at: Date;
}

const from = `SELECT v.*, p.name AS project, l.name AS pool, h.name AS host_name, i.name AS instance,
    c.operation_id AS clone_operation_id, o.name AS cloned_from,
    e.of_name AS export_of, e.operation_id AS export_operation_id, e.consistency, e.size_bytes::text, e.sha256, e.expires_at FROM volumes v
  JOIN projects p ON p.id = v.project_id JOIN pools l ON l.id = v.pool_id
  LEFT JOIN hosts h ON h.id = v.host_id LEFT JOIN instances i ON i.id = v.owner_instance_id
  LEFT JOIN volume_exports e ON e.volume_id = v.id
  LEFT JOIN (volume_clones c JOIN volumes o ON o.id = c.source_volume_id) ON c.volume_id = v.id`;

const toVolume = (v: VolumeRow): Volume => ({
  id: v.id as VolumeId,
  project: v.project,
  name: v.name,
  pool: v.pool,
  host: v.host_id === null || v.host_name === null ? null : { id: v.host_id as HostId, name: v.host_name },
  kind: v.kind,
  format: v.format,
  sizeMiB: v.size_mib,
  actualSizeMiB: v.actual_size_mib,
  limits: v.limits,
  owner: v.instance === null ? null : { instance: v.instance },
  source: v.source,
  sourceHeld: v.source_snapshot_id !== null,
  cloning:
    v.kind === 'export' || v.cloned_from === null || v.clone_operation_id === null
      ? null
      : { from: v.cloned_from, operationId: v.clone_operation_id as OperationId },
  export: toExport(v),
  deleteWithInstance: v.delete_with_instance,
  deletingSince: v.deleting_since?.toISOString() ?? null,
  resourceVersion: v.resource_version,
  createdAt: v.created_at.toISOString(),
});

function toExport(v: VolumeRow): Volume['export'] {
  if (v.export_of === null || v.consistency === null) return null;
  return {
    of: v.export_of,
    operationId: v.export_operation_id as OperationId,
    consistency: v.consistency,
    file: v.sha256 === null ? null : { sizeBytes: Number(v.size_bytes), sha256: v.sha256 },
    expiresAt: v.expires_at?.toISOString() ?? null,
  };
}

type Row = VolumeRow & Record<string, unknown>;

export async function volumeList(db: Db, projectId: ProjectId): Promise<readonly Volume[]> {
  return (await read<Row>(db, `${from} WHERE v.project_id = $1 ORDER BY v.name`, [projectId])).map(toVolume);
}

/** By its name or its id. */
export async function volumeGet(db: Db, projectId: ProjectId, ref: string): Promise<Volume | null> {
  const [row] = await read<Row>(db, `${from} WHERE v.project_id = $1 AND (v.name = $2 OR v.id = $3)`, [
    projectId,
    ref,
    VolumeIdSchema.safeParse(ref).data ?? null,
  ]);
  return row === undefined ? null : toVolume(row);
}

export async function volumeOf(tx: Tx, id: string): Promise<Volume> {
  const row = await tx.row<Row>(`${from} WHERE v.id = $1`, [id]);
  if (row === null) throw new Error(`volume ${id} is missing`);
  return toVolume(row);
}

export const volumeObject = ({ id, name }: { id: string; name: string }) => ({
  kind: 'volume' as const,
  id,
  name,
});

/** @see VolumeStore.volumeCreate */
export async function volumeCreate(
  db: Db,
  ctx: RequestContext,
  { projectId, body }: { projectId: ProjectId; body: VolumeCreate },
): Promise<Volume> {
  const { name, sizeMiB, format, limits } = body;
  try {
    return await inTx(db, async (tx) => {
      const poolId = await poolNamed(tx, projectId, body.pool, '/pool');
      const source =
        body.source === undefined ? null : await sourceDisk(tx, projectId, body.source, '/source');
      if (source !== null) sourceFits(source, sizeMiB, '/sizeMiB');
      const id = tx.ids.uuid();
      await tx.changed(
        `INSERT INTO volumes (id, project_id, pool_id, name, kind, format, size_mib, limits, delete_with_instance, created_at)
         VALUES ($1, $2, $3, $4, 'data', $5, $6, $7, false, $8)`,
        [id, projectId, poolId, name, format, sizeMiB, JSON.stringify(limits), tx.now],
      );
      if (source !== null) await sourceHold(tx, { id, sizeMiB }, source);
      await eventsWrite(tx, ctx, [
        {
          class: 'audit',
          type: 'volume.created',
          projectId,
          object: volumeObject({ id, name }),
          data: { sizeMiB, format },
        },
      ]);
      const made = await volumeOf(tx, id);
      await keyAnswer(tx, ctx, made);
      return made;
    });
  } catch (error) {
    if (isDuplicate(error, 'volumes_project_id_name_key')) throw nameTaken('volume', name);
    throw error;
  }
}

interface Locked {
  id: VolumeId;
  name: string;
  kind: Volume['kind'];
  format: Volume['format'];
  host_id: HostId | null;
  size_mib: number;
  limits: VolumeLimits;
  owner: string | null;
  deleting_since: Date | null;
  resource_version: number;
}

export interface VolumeTarget {
  readonly projectId: ProjectId;
  /** Name or id. */
  readonly ref: string;
  readonly ifMatch?: number;
}

/** A data volume, or also an export, locked. @throws notFound, preconditionFailed, conflict, stateConflict */
export async function volumeForRequest(
  tx: Tx,
  { projectId, ref, ifMatch }: VolumeTarget,
  exportToo = false,
): Promise<Locked> {
  const locked = await tx.row<{ id: string }>(
    `SELECT id FROM volumes WHERE project_id = $1 AND (name = $2 OR id = $3) FOR UPDATE`,
    [projectId, ref, VolumeIdSchema.safeParse(ref).data ?? null],
  );
  if (locked === null) throw notFound('volume', ref);
  // A statement of its own: it sees what the holder of the lock before us committed.
  const row = await tx.row<Locked & Record<string, unknown>>(
    `SELECT v.id, v.name, v.kind, v.format, v.host_id, v.size_mib, v.limits, i.name AS owner, v.deleting_since, v.resource_version
     FROM volumes v LEFT JOIN instances i ON i.id = v.owner_instance_id WHERE v.id = $1`,
    [locked.id],
  );
  if (row === null) throw notFound('volume', ref);
  if (row.kind === 'export' && !exportToo)
    throw new BerthError('conflict', `"${row.name}" is an export: a file to be downloaded, and no disk`, {
      remedy: 'download it, or delete it; the volume that it was made of is another one',
    });
  if (row.kind !== 'data' && row.kind !== 'export')
    throw new BerthError('conflict', `volume "${row.name}" belongs to instance "${row.owner ?? ''}"`, {
      remedy: "change the instance's rootDisk, or delete the instance",
    });
  matchVersion(ifMatch, row.resource_version);
  return row;
}

interface VolumeUpdated {
  readonly volume: Volume;
  /** Hosts whose assignment list changed: wake their dispatch. */
  readonly hosts: readonly HostId[];
}

/** @see VolumeStore.volumeUpdate */
export async function volumeUpdate(
  db: Db,
  ctx: RequestContext,
  { update, ...target }: VolumeTarget & { readonly update: VolumeUpdate },
): Promise<VolumeUpdated> {
  return inTx(db, async (tx) => {
    const v = await volumeForRequest(tx, target);
    if (v.deleting_since !== null)
      throw new BerthError('stateConflict', `volume "${v.name}" is being deleted`, {
        remedy: 'create another volume',
      });
    const { sizeMiB = v.size_mib, limits = v.limits } = update;
    if (sizeMiB < v.size_mib)
      throw invalidField(
        '/sizeMiB',
        `must be at least ${v.size_mib}, the size that the volume has`,
        'a volume only grows; copy its data to a smaller one inside a guest',
      );
    if (v.host_id !== null && sizeMiB > v.size_mib) await diskRoom(tx, v.host_id, sizeMiB - v.size_mib);
    if (v.format === 'ext4' && Object.keys(limits).length > 0)
      throw invalidField('/limits', 'are for disks (raw, qcow2)', 'leave them out');
    await tx.changed(
      `UPDATE volumes SET size_mib = $2, limits = $3, resource_version = resource_version + 1 WHERE id = $1`,
      [v.id, sizeMiB, JSON.stringify(limits)],
    );
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: 'volume.updated',
        projectId: target.projectId,
        object: volumeObject(v),
        data: { sizeMiB, limits },
      },
    ]);
    const hosts = v.owner === null || v.host_id === null ? [] : [v.host_id];
    await assignmentsRaise(tx, hosts);
    return { volume: await volumeOf(tx, v.id), hosts };
  });
}

/** @see VolumeStore.volumeDelete */
export async function volumeDelete(
  db: Db,
  ctx: RequestContext,
  target: VolumeTarget,
): Promise<{ readonly volume: Volume | null; readonly hosts: readonly HostId[] }> {
  return inTx(db, async (tx) => {
    const v = await volumeForRequest(tx, target, true);
    if (v.owner !== null)
      throw new BerthError('inUse', `volume "${v.name}" is attached to instance "${v.owner}"`, {
        remedy: `detach it first: take it out of the instance's spec.volumes, and wait until its owner is null`,
      });
    if (v.deleting_since !== null) return { volume: await volumeOf(tx, v.id), hosts: [] };
    await eventsWrite(tx, ctx, [
      { class: 'audit', type: 'volume.delete', projectId: target.projectId, object: volumeObject(v) },
    ]);
    await sourcesLetGo(tx, [v.id]);
    await cloneCancel(tx, ctx, v);
    if (v.host_id === null) {
      await volumeErase(tx, ctx, { ...v, projectId: target.projectId });
      return { volume: null, hosts: [] };
    }
    await tx.changed(
      `UPDATE volumes SET deleting_since = $2, resource_version = resource_version + 1 WHERE id = $1`,
      [v.id, tx.now],
    );
    await tx.changed(
      `INSERT INTO tombstones (id, host_id, volume_id, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
      [tx.ids.uuid(), v.host_id, v.id, tx.now],
    );
    await assignmentsRaise(tx, [v.host_id]);
    return { volume: await volumeOf(tx, v.id), hosts: [v.host_id] };
  });
}

/** Its host says that a volume is gone: one that was deleted, or the old root disk of a rebuild. */
export async function volumeBuried(tx: Tx, ctx: RequestContext, volumeId: string): Promise<void> {
  const v = await tx.row<{ id: string; name: string; project_id: ProjectId }>(
    `SELECT id, name, project_id FROM volumes WHERE id = $1 AND deleting_since IS NOT NULL FOR UPDATE`,
    [volumeId],
  );
  await tx.changed(`DELETE FROM tombstones WHERE volume_id = $1 AND (instance_id IS NULL OR $2)`, [
    volumeId,
    v !== null,
  ]);
  if (v !== null) await volumeErase(tx, ctx, { ...v, projectId: v.project_id });
}

export async function volumeErase(
  tx: Tx,
  ctx: RequestContext,
  v: { id: string; name: string; projectId: ProjectId },
): Promise<void> {
  await tx.changed(`DELETE FROM volumes WHERE id = $1`, [v.id]);
  await eventsWrite(tx, ctx, [
    { class: 'lifecycle', type: 'volume.deleted', projectId: v.projectId, object: volumeObject(v) },
  ]);
}
