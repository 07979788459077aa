import type { DiskConsistency, HostId, ProjectId, RootDiskSource, VolumeExport } from '@berth/model';
import { BerthError } from '@berth/model';
import { diskRoom } from './capacity.js';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, read } from './db.js';
import { sourceDisk, sourceHold } from './disk-sources.js';
import { eventsWrite } from './events.js';
import { assignmentsRaise } from './instance-change.js';
import { reconcileContext } from './instance-delete.js';
import { operationOf, operationWrite } from './operations.js';
import type { VolumeChange } from './rows.js';
import { refuseHost, sourceFor, type CloneSource } from './volume-clones.js';
import { volumeDelete, volumeForRequest, volumeObject, volumeOf, type VolumeTarget } from './volumes.js';

/*
 * A file of what a volume holds, made by its host and downloaded through the API (ADR 38). It is a volume that no instance can have:
 *   (request) ordered -> whole, for a day | (failed) gone
 *   each -> (deleted, expired) its host removes it
 * Of a snapshot it is made whoever writes the volume, and the snapshot stays until then; else nothing writes it, as for a clone.
 */

export interface ExportRequest extends VolumeTarget {
  readonly wanted: VolumeExport;
  readonly deadlineSeconds: number;
}

/** @see VolumeStore.volumeExport */
export async function volumeExport(
  db: Db,
  ctx: RequestContext,
  request: ExportRequest,
): Promise<VolumeChange> {
  const { projectId, wanted, deadlineSeconds } = request;
  return inTx(db, async (tx) => {
    const id = tx.ids.uuid();
    const from =
      wanted.source === undefined ? await asItIs(tx, request) : await asItWas(tx, request, wanted.source);
    // A name that no request can give: it has a dot.
    const name = `${from.name}.export-${id.slice(0, 8)}`;
    await tx.changed(
      `INSERT INTO volumes (id, project_id, pool_id, name, host_id, kind, format, size_mib, limits, delete_with_instance, created_at)
       VALUES ($1, $2, $3, $4, $5, 'export', $6, $7, '{}', false, $8)`,
      [id, projectId, from.poolId, name, from.hostId, wanted.format, from.sizeMiB, tx.now],
    );
    const target = volumeObject({ id, name });
    const kind = 'volumeExport';
    const state = 'running';
    const operationId = await operationWrite(tx, ctx, { projectId, kind, target, deadlineSeconds, state });
    await tx.changed(
      `INSERT INTO volume_exports (volume_id, of_name, consistency, operation_id) VALUES ($1, $2, $3, $4)`,
      [id, from.name, from.consistency, operationId],
    );
    await from.order({ id, operationId });
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: 'volume.export',
        projectId,
        object: target,
        operationId,
        data: { from: from.name, format: wanted.format, snapshot: wanted.source ?? null },
      },
    ]);
    await assignmentsRaise(tx, [from.hostId]);
    return {
      volume: await volumeOf(tx, id),
      operation: await operationOf(tx, operationId),
      hosts: [from.hostId],
    };
  });
}

interface From {
  readonly name: string;
  readonly poolId: string;
  readonly hostId: HostId;
  readonly sizeMiB: number;
  readonly consistency: DiskConsistency;
  /** Binds the new volume to what it is made of, until it is. */
  readonly order: (made: { readonly id: string; readonly operationId: string }) => Promise<unknown>;
}

/** @throws as a clone, stateConflict (it holds nothing) */
async function asItIs(tx: Tx, request: ExportRequest): Promise<From> {
  const source = await sourceFor(tx, request, 'exports');
  const { host_id: hostId, size_mib: sizeMiB, name, pool_id: poolId } = source;
  if (hostId === null) throw holdsNothing(name);
  await diskRoom(tx, hostId, sizeMiB);
  const order: From['order'] = ({ id, operationId }) =>
    tx.changed(`INSERT INTO volume_clones (volume_id, source_volume_id, operation_id) VALUES ($1, $2, $3)`, [
      id,
      source.id,
      operationId,
    ]);
  return { name, poolId, hostId, sizeMiB, consistency: await consistencyOf(tx, source), order };
}

/** Never more than is known: of one that is detached, nobody says whether its guest had unmounted it. */
async function consistencyOf(tx: Tx, { owner, id }: CloneSource): Promise<DiskConsistency> {
  if (owner === null) return 'crash';
  const last = await tx.row<{ reason: string | null }>(
    `SELECT p.exit->>'reason' AS reason FROM volumes v JOIN placements p ON p.instance_id = v.owner_instance_id
     WHERE v.id = $1 ORDER BY p.epoch DESC LIMIT 1`,
    [id],
  );
  return last?.reason === 'guestShutdown' ? 'filesystem' : 'crash';
}

/** @throws notFound, conflict, invalid (no such snapshot, or not of this volume), stateConflict, unsupported, unavailable, noRoom */
async function asItWas(tx: Tx, request: ExportRequest, of: RootDiskSource): Promise<From> {
  const { projectId } = request;
  const named = await tx.row<{ name: string }>(
    `SELECT name FROM volumes WHERE project_id = $1 AND (name = $2 OR id::text = $2) AND kind = 'data'`,
    [projectId, request.ref],
  );
  // Its snapshot first, as whoever deletes that: instance, then volume.
  const asked = { ...of, volume: named?.name ?? request.ref };
  const source = named === null ? null : await sourceDisk(tx, projectId, asked, '/source');
  const v = await volumeForRequest(tx, request);
  if (source === null || source.volumeId !== v.id)
    throw new BerthError('stateConflict', `volume "${v.name}" was made or renamed meanwhile`, {
      remedy: 'ask again',
    });
  const host = await tx.row<{
    name: string;
    able: boolean;
    silent: boolean;
    consistency: DiskConsistency;
    pool_id: string;
  }>(
    `SELECT h.name, coalesce(h.capabilities->'facets' ? 'exports', false) AS able, h.silent_since IS NOT NULL AS silent,
       CASE WHEN s.memory THEN 'crash' ELSE s.taken->>'consistency' END AS consistency, v.pool_id
     FROM volumes v JOIN hosts h ON h.id = v.host_id, snapshots s WHERE v.id = $1 AND s.id = $2`,
    [v.id, source.snapshotId],
  );
  if (host === null) throw holdsNothing(v.name);
  refuseHost({ host: host.name, able: host.able, silent: host.silent });
  const sizeMiB = Math.max(source.sizeMiB, v.size_mib);
  const order: From['order'] = ({ id }) => sourceHold(tx, { id, sizeMiB }, source);
  const { consistency, pool_id: poolId } = host;
  return { name: v.name, poolId, hostId: source.hostId, sizeMiB, consistency, order };
}

const holdsNothing = (name: string): BerthError =>
  new BerthError('stateConflict', `volume "${name}" was never on a host, and holds nothing yet`, {
    remedy: 'start an instance with it first',
  });

/** Deletes exports whose time is over. @returns hosts to wake @see ReconcileStore.exportsExpire */
export async function exportsExpire(db: Db): Promise<readonly HostId[]> {
  const over = await read<{ projectId: ProjectId; ref: string }>(
    db,
    `SELECT v.project_id AS "projectId", v.id AS ref FROM volume_exports e JOIN volumes v ON v.id = e.volume_id
     WHERE e.expires_at < $1 AND v.deleting_since IS NULL ORDER BY e.expires_at LIMIT 100`,
    [db.clock.now()],
  );
  const hosts = new Set<HostId>();
  for (const target of over)
    try {
      for (const host of (await volumeDelete(db, reconcileContext, target)).hosts) hosts.add(host);
    } catch (error) {
      // Somebody deleted it meanwhile, and it is gone.
      if (!(error instanceof BerthError && error.code === 'notFound')) throw error;
    }
  return [...hosts];
}
