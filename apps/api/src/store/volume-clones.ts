import type { HostId, ProjectId, VolumeClone, VolumeId } from '@berth/model';
import { BerthError } from '@berth/model';
import { diskRoom } from './capacity.js';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, isDuplicate, read } from './db.js';
import { sourcesLetGo } from './disk-sources.js';
import { eventsWrite } from './events.js';
import { assignmentsRaise, instanceForRequest } from './instance-change.js';
import { operationEnd, operationOf, operationWrite, stepWrite } from './operations.js';
import { nameTaken } from './refusals.js';
import type { CloneOrderRow, CloneReport, VolumeChange } from './rows.js';
import { refuseReverting, refuseUnderWay } from './snapshot-guards.js';
import { exportMade, exportOrdersRead } from './export-orders.js';
import { volumeErase, volumeForRequest, volumeObject, volumeOf, type VolumeTarget } from './volumes.js';

/*
 * A data volume that is copied from another one by their host (ADR 33):
 *   (request) cloning -> a volume like any other | (failed, deleted) gone
 * While it is copied, nothing may write the other one: volume-claims.ts, and `refuseCloned`.
 */

export interface CloneRequest extends VolumeTarget {
  readonly clone: VolumeClone;
  readonly deadlineSeconds: number;
}

export interface CloneSource {
  id: VolumeId;
  name: string;
  /** Instance that has it, and is stopped. */
  owner: string | null;
  pool_id: string;
  host_id: HostId | null;
  host: string | null;
  able: boolean;
  silent: boolean;
  format: string;
  size_mib: number;
  limits: object;
  unmade: boolean;
  cloning: boolean;
}

/** @see VolumeStore.volumeClone */
export async function volumeClone(db: Db, ctx: RequestContext, request: CloneRequest): Promise<VolumeChange> {
  const { name } = request.clone;
  try {
    return await inTx(db, async (tx) => {
      const source = await sourceFor(tx, request, 'clones');
      const { projectId, deadlineSeconds } = request;
      const format = request.clone.format ?? source.format;
      const id = tx.ids.uuid();
      const { host_id: hostId, size_mib: sizeMiB } = source;
      if (hostId !== null) await diskRoom(tx, hostId, sizeMiB);
      await tx.changed(
        `INSERT INTO volumes (id, project_id, pool_id, name, host_id, kind, format, size_mib, limits, delete_with_instance, created_at)
         VALUES ($1, $2, $3, $4, $5, 'data', $6, $7, $8, false, $9)`,
        [id, projectId, source.pool_id, name, hostId, format, sizeMiB, JSON.stringify(source.limits), tx.now],
      );
      // One that no host has is empty, and so is its clone.
      const state = hostId === null ? 'succeeded' : 'running';
      const target = volumeObject({ id, name });
      const kind = 'volumeClone';
      const operationId = await operationWrite(tx, ctx, { projectId, kind, target, deadlineSeconds, state });
      if (hostId !== null)
        await tx.changed(
          `INSERT INTO volume_clones (volume_id, source_volume_id, operation_id) VALUES ($1, $2, $3)`,
          [id, source.id, operationId],
        );
      await eventsWrite(tx, ctx, [
        {
          class: 'audit',
          type: 'volume.clone',
          projectId,
          object: target,
          operationId,
          data: { from: source.name, sizeMiB, format },
        },
      ]);
      const hosts = hostId === null ? [] : [hostId];
      await assignmentsRaise(tx, hosts);
      return { volume: await volumeOf(tx, id), operation: await operationOf(tx, operationId), hosts };
    });
  } catch (error) {
    if (isDuplicate(error, 'volumes_project_id_name_key')) throw nameTaken('volume', name);
    throw error;
  }
}

/** The volume to be copied, which nothing may write, locked with whoever has it. @throws notFound, conflict, stateConflict, unsupported, unavailable */
export async function sourceFor(
  tx: Tx,
  target: VolumeTarget,
  facet: 'clones' | 'exports',
): Promise<CloneSource> {
  const { projectId, ref } = target;
  const [owner] = await tx.rows<{ name: string }>(
    `SELECT i.name FROM volumes v JOIN instances i ON i.id = v.owner_instance_id
     WHERE v.project_id = $1 AND v.kind = 'data' AND (v.name = $2 OR v.id::text = $2)`,
    [projectId, ref],
  );
  // In the order in which claims are made: instance, then volume.
  if (owner !== undefined) await refuseWriter(tx, projectId, owner.name, ref);
  const v = await volumeForRequest(tx, target);
  if (v.deleting_since !== null)
    throw new BerthError('stateConflict', `volume "${v.name}" is being deleted`, {
      remedy: 'use another volume',
    });
  if (v.format === 'ext4')
    throw new BerthError('unsupported', `volume "${v.name}" is a file system of containers, and no disk`, {
      remedy: 'copy its files by a container that has both: berth cp, or exec',
    });
  if (v.owner !== (owner?.name ?? null))
    throw new BerthError('stateConflict', `volume "${v.name}" was attached or detached meanwhile`, {
      remedy: 'ask again',
    });
  const source = await tx.row<Omit<CloneSource, 'name' | 'owner'> & Record<string, unknown>>(
    `SELECT v.id, v.pool_id, v.host_id, h.name AS host, coalesce(h.capabilities->'facets' ? $2, false) AS able,
       h.silent_since IS NOT NULL AS silent, v.format, v.size_mib, v.limits, v.source_snapshot_id IS NOT NULL AS unmade,
       EXISTS (SELECT FROM volume_clones c WHERE c.volume_id = v.id) AS cloning
     FROM volumes v LEFT JOIN hosts h ON h.id = v.host_id WHERE v.id = $1`,
    [v.id, facet],
  );
  if (source === null) throw new Error(`volume ${v.id} is missing`);
  if (source.unmade || source.cloning)
    throw new BerthError(
      'stateConflict',
      `volume "${v.name}" has yet to be made as ${source.cloning ? 'a clone' : 'its source was'}`,
      {
        remedy: source.cloning
          ? 'wait until its operation has ended'
          : 'start an instance with it once, or create another volume from its source',
      },
    );
  if (source.host_id !== null) refuseHost(source);
  return { ...source, name: v.name, owner: v.owner };
}

/** @throws unsupported, unavailable */
export function refuseHost({ host, able, silent }: Pick<CloneSource, 'host' | 'able' | 'silent'>): void {
  if (!able)
    throw new BerthError('unsupported', `Host ${host ?? ''} cannot do this with volumes.`, {
      remedy: 'GET /v1/hosts shows the facets of each host; its agent may be older than this API.',
    });
  if (silent)
    throw new BerthError('unavailable', `host ${host ?? ''} is silent, so nothing can be copied there now`, {
      remedy: 'wait until its agent is connected; `berth host ls` shows it',
    });
}

/** Locks the instance that has a volume. @throws stateConflict while it may write it */
async function refuseWriter(tx: Tx, projectId: ProjectId, instance: string, ref: string): Promise<void> {
  const i = await instanceForRequest(tx, { projectId, name: instance });
  await refuseReverting(tx, i);
  await refuseUnderWay(tx, i);
  const { state } =
    (await tx.row<{ state: string }>(`SELECT state FROM instances WHERE id = $1`, [i.id])) ?? {};
  const ended = i.phase === null || i.phase === 'ended';
  if (ended && (state === 'stopped' || state === 'error')) return;
  throw new BerthError(
    'stateConflict',
    `volume "${ref}" is attached to instance "${i.name}", which is ${state} and may write it`,
    {
      remedy: `stop it first; or take a snapshot of it, and create a volume with source {instance, snapshot, volume}`,
    },
  );
}

const untouched = { changed: false, freed: false };

/**
 * What a host says of an order, which is known by its operation. One that is no longer asked for, and what an older session
 * says, changes nothing. @see DispatchStore.cloneReport
 */
export async function cloneReport(
  db: Db,
  { hostId, session, orderId, outcome }: CloneReport,
): Promise<{ changed: boolean; freed: boolean }> {
  const [named] = await read<{ id: string }>(
    db,
    `SELECT volume_id AS id FROM volume_clones WHERE operation_id = $1
     UNION SELECT volume_id FROM volume_exports WHERE operation_id = $1 AND sha256 IS NULL`,
    [orderId],
  );
  if (named === undefined) return untouched;
  return inTx(db, async (tx) => {
    await tx.rows(`SELECT 1 FROM volumes WHERE id = $1 FOR UPDATE`, [named.id]);
    // A statement of its own: it sees what the holder of the lock before us committed.
    const v = await tx.row<{
      id: string;
      name: string;
      project_id: ProjectId;
      from: string;
      exported: boolean;
    }>(
      `SELECT v.id, v.name, v.project_id, coalesce(e.of_name, s.name) AS from, e.volume_id IS NOT NULL AS exported
       FROM volumes v JOIN hosts h ON h.id = v.host_id AND h.session = $3 LEFT JOIN volume_exports e ON e.volume_id = v.id
       LEFT JOIN (volume_clones c JOIN volumes s ON s.id = c.source_volume_id) ON c.volume_id = v.id
       WHERE v.id = $4 AND v.host_id = $2 AND v.deleting_since IS NULL
         AND (c.operation_id = $1 OR (e.operation_id = $1 AND e.sha256 IS NULL))`,
      [orderId, hostId, session, named.id],
    );
    if (v === null) return untouched;
    const ctx = { actor: 'system:dispatch', traceId: `session-${session}` };
    switch (outcome.state) {
      case 'copying':
        await stepWrite(tx, orderId, { name: 'copying', progress: outcome.percent });
        return untouched;
      case 'retrying':
        await stepWrite(tx, orderId, { name: 'retrying', message: outcome.message });
        return untouched;
      case 'done':
        await tx.changed(`DELETE FROM volume_clones WHERE operation_id = $1`, [orderId]);
        if (v.exported) await exportMade(tx, v.id, outcome.file);
        await tx.changed(`UPDATE volumes SET resource_version = resource_version + 1 WHERE id = $1`, [v.id]);
        await operationEnd(tx, ctx, orderId, { state: 'succeeded' });
        await eventsWrite(tx, ctx, [
          {
            class: 'lifecycle',
            type: v.exported ? 'volume.exportMade' : 'volume.cloned',
            projectId: v.project_id,
            object: volumeObject(v),
            operationId: orderId,
            data: { from: v.from },
          },
        ]);
        break;
      case 'failed': {
        const { code, message, remedy } = outcome;
        const error = { code, message, ...(remedy === undefined ? {} : { remedy }) };
        await operationEnd(tx, ctx, orderId, { state: 'failed', error });
        await sourcesLetGo(tx, [v.id]);
        await volumeErase(tx, ctx, { ...v, projectId: v.project_id });
      }
    }
    await assignmentsRaise(tx, [hostId]);
    return { changed: true, freed: outcome.state === 'failed' };
  });
}

/** What its host is asked to copy, into volumes and into files. @see DispatchStore.assignmentsRead */
export async function clonesRead(tx: Tx, hostId: HostId): Promise<readonly CloneOrderRow[]> {
  const clones = await tx.rows<CloneOrderRow & Record<string, unknown>>(
    `SELECT c.operation_id AS id, c.volume_id AS "volumeId", c.source_volume_id AS "sourceId", v.format, v.size_mib AS "sizeMiB"
     FROM volume_clones c JOIN volumes v ON v.id = c.volume_id WHERE v.host_id = $1 AND v.kind = 'data' ORDER BY v.created_at, v.id`,
    [hostId],
  );
  return [...clones, ...(await exportOrdersRead(tx, hostId))];
}
