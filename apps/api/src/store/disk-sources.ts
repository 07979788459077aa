import type {
  Digest,
  HostId,
  ProjectId,
  RootDiskSource,
  SnapshotId,
  VolumeId,
  VolumeSource,
} from '@berth/model';
import { BerthError } from '@berth/model';
import { diskRoom } from './capacity.js';
import type { Tx } from './db.js';
import { invalidField } from './refusals.js';

/*
 * Disks that begin as a snapshot (ADR 28):
 *   (request) held: on the snapshot's host, which is told to make it so -> the host says that a machine has it -> its own
 * While one is held its snapshot is not deleted, nor the instance that is in. Whoever discards the volume lets go of it.
 */

/** What a new disk begins as, as its host finds it. */
export interface SourceDisk {
  readonly asked: RootDiskSource | VolumeSource;
  readonly snapshotId: SnapshotId;
  readonly volumeId: VolumeId;
  readonly hostId: HostId;
  /** Name and digest of the image of its instance, on which the root disk stands. */
  readonly image: string;
  readonly digest: Digest;
  /** What a copy of it must have, MiB. */
  readonly sizeMiB: number;
}

/** What an agent must be able to do to make it. */
const facet = 'copies';

interface Found {
  snapshot_id: SnapshotId;
  state: string;
  volume_id: VolumeId | null;
  host_id: HostId;
  host: string;
  able: boolean;
  image: string;
  digest: Digest;
  size_mib: number;
  deleting: boolean;
}

/**
 * The disk that a request names, its snapshot kept until the commit. @param at where the request names it
 * @throws invalid (unknown), stateConflict (the snapshot is not ready), unsupported (its host cannot copy)
 */
export async function sourceDisk(
  tx: Tx,
  projectId: ProjectId,
  asked: RootDiskSource | VolumeSource,
  at: string,
): Promise<SourceDisk> {
  const { instance, snapshot } = asked;
  // Whoever deletes it, or a snapshot of it, locks it against this.
  const i = await tx.row<{ id: string }>(
    `SELECT id FROM instances WHERE project_id = $1 AND name = $2 FOR KEY SHARE`,
    [projectId, instance],
  );
  if (i === null)
    throw invalidField(
      `${at}/instance`,
      `names no instance of the project ("${instance}")`,
      'use a name from the instance list',
    );
  // A statement of its own: it sees what the holder of the lock before us committed.
  const found = await tx.row<Found & Record<string, unknown>>(
    `SELECT s.id AS snapshot_id, s.state, v.id AS volume_id, s.host_id, h.name AS host,
       coalesce(h.capabilities->'facets' ? $4, false) AS able, i.spec->>'image' AS image, i.image_digest AS digest, v.size_mib,
       i.deleting_since IS NOT NULL AS deleting
     FROM snapshots s JOIN instances i ON i.id = s.instance_id JOIN hosts h ON h.id = s.host_id
     LEFT JOIN (snapshot_disks d JOIN volumes v ON v.id = d.volume_id) ON d.snapshot_id = s.id
       AND CASE WHEN $3::text IS NULL THEN d.index = 0 ELSE v.kind = 'data' AND v.name = $3 END
     WHERE s.instance_id = $1 AND s.name = $2`,
    [i.id, snapshot, 'volume' in asked ? asked.volume : null, facet],
  );
  if (found === null)
    throw invalidField(
      `${at}/snapshot`,
      `names no snapshot of instance "${instance}" ("${snapshot}")`,
      'use a name from its list of snapshots',
    );
  if (found.state !== 'ready' || found.deleting)
    throw new BerthError(
      'stateConflict',
      `snapshot "${snapshot}" of instance "${instance}" is ${found.deleting ? 'being deleted with it' : found.state}`,
      { remedy: 'wait until it is ready, or use another snapshot' },
    );
  if (found.volume_id === null)
    throw invalidField(
      `${at}/volume`,
      `names no data volume of snapshot "${snapshot}"`,
      'use one of its disks; the root disk is for instances',
    );
  if (!found.able)
    throw new BerthError('unsupported', `Host ${found.host} copies no snapshots.`, {
      remedy: 'GET /v1/hosts shows the facets of each host; its agent may be older than this API.',
    });
  return {
    asked,
    snapshotId: found.snapshot_id,
    volumeId: found.volume_id,
    hostId: found.host_id,
    image: found.image,
    digest: found.digest,
    sizeMiB: found.size_mib,
  };
}

/** @param at where the request names the size. @throws invalid */
export function sourceFits(source: SourceDisk, sizeMiB: number, at: string): void {
  if (sizeMiB < source.sizeMiB)
    throw invalidField(
      at,
      `must be at least ${source.sizeMiB}, the size of the disk that it begins as`,
      'ask for a larger disk',
    );
}

/** Puts a new volume, which is on no host yet, on the host of its source. @throws noRoom */
export async function sourceHold(
  tx: Tx,
  volume: { readonly id: string; readonly sizeMiB: number },
  source: SourceDisk,
): Promise<void> {
  await diskRoom(tx, source.hostId, volume.sizeMiB);
  await tx.changed(
    `UPDATE volumes SET host_id = $2, source = $3, source_snapshot_id = $4, source_volume_id = $5 WHERE id = $1`,
    [volume.id, source.hostId, JSON.stringify(source.asked), source.snapshotId, source.volumeId],
  );
}

/** These volumes are made, or will never be. */
export async function sourcesLetGo(tx: Tx, volumeIds: readonly string[]): Promise<void> {
  await tx.changed(
    `UPDATE volumes SET source_snapshot_id = NULL, source_volume_id = NULL, resource_version = resource_version + 1
     WHERE id = ANY ($1) AND source_snapshot_id IS NOT NULL`,
    [volumeIds],
  );
}

/** @param snapshot null for any of the instance. @throws conflict while a disk has yet to be made of it */
export async function refuseHeld(
  tx: Tx,
  i: { readonly id: string },
  snapshot: SnapshotId | null = null,
): Promise<void> {
  const held = await tx.row<{ name: string; volume: string; instance: string | null }>(
    `SELECT s.name, v.name AS volume, o.name AS instance FROM snapshots s JOIN volumes v ON v.source_snapshot_id = s.id
     LEFT JOIN instances o ON o.id = v.owner_instance_id
     WHERE s.instance_id = $1 AND ($2::uuid IS NULL OR s.id = $2) ORDER BY v.created_at LIMIT 1`,
    [i.id, snapshot],
  );
  if (held === null) return;
  const by = held.instance === null ? `volume "${held.volume}"` : `instance "${held.instance}"`;
  throw new BerthError('conflict', `${by} has yet to begin from snapshot "${held.name}"`, {
    remedy: 'wait until an instance has started with it, or delete it',
  });
}
