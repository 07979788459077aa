import type { InstanceSpec } from '@berth/model';
import { BerthError } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Tx } from './db.js';
import { refuseHeld } from './disk-sources.js';
import { operationEnd } from './operations.js';

/*
 * What an instance may not do because of its snapshots. A snapshot is in the disks it is of: they stay together as long as
 * it is there. Called with the instance locked.
 */

/** @throws stateConflict while disks are brought back: nothing runs from them, nor is anything else done to them */
export async function refuseReverting(
  tx: Tx,
  i: { readonly id: string; readonly name: string },
): Promise<void> {
  const under = await tx.row<{ name: string }>(
    `SELECT name FROM snapshots WHERE instance_id = $1 AND state = 'reverting'`,
    [i.id],
  );
  if (under !== null)
    throw new BerthError(
      'stateConflict',
      `instance "${i.name}" is being reverted to snapshot "${under.name}"`,
      {
        remedy: 'wait until that is done; its operation says what it waits for',
      },
    );
}

/** @throws stateConflict while anything is done to its snapshots */
export async function refuseUnderWay(
  tx: Tx,
  i: { readonly id: string; readonly name: string },
): Promise<void> {
  const under = await tx.row<{ name: string; state: string }>(
    `SELECT name, state FROM snapshots WHERE instance_id = $1 AND state <> 'ready' LIMIT 1`,
    [i.id],
  );
  if (under !== null)
    throw new BerthError(
      'stateConflict',
      `snapshot "${under.name}" of instance "${i.name}" is ${under.state}`,
      {
        remedy: 'wait until that is done',
      },
    );
}

/** @throws conflict when a volume is to be detached that snapshots are in */
export async function refuseDetached(
  tx: Tx,
  i: { readonly id: string },
  spec: Pick<InstanceSpec, 'volumes'>,
): Promise<void> {
  const torn = await snapshotWithData(
    tx,
    i.id,
    spec.volumes.map((v) => v.name),
  );
  if (torn === null) return;
  const message = `volume "${torn.volume}" is part of snapshot "${torn.name}"`;
  const remedy = 'delete the snapshots that it is part of first, or keep it attached';
  throw new BerthError('conflict', message, {
    remedy,
    errors: [{ path: '/spec/volumes', code: 'conflict', message, remedy }],
  });
}

/** @throws conflict when the root disk is to be discarded that snapshots are in */
export async function refuseDiscarded(
  tx: Tx,
  i: { readonly id: string; readonly name: string },
): Promise<void> {
  const kept = await tx.row<{ name: string }>(
    `SELECT name FROM snapshots WHERE instance_id = $1 ORDER BY created_at LIMIT 1`,
    [i.id],
  );
  if (kept !== null)
    throw new BerthError('conflict', `snapshot "${kept.name}" is in the root disk of instance "${i.name}"`, {
      remedy: 'delete its snapshots first; they are lost with the disk',
    });
}

/** @throws stateConflict while the disk is about to be discarded */
export async function refuseRebuilding(
  tx: Tx,
  i: { readonly id: string; readonly name: string },
): Promise<void> {
  const row = await tx.row(`SELECT 1 FROM instances WHERE id = $1 AND rebuild_image_id IS NOT NULL`, [i.id]);
  if (row !== null)
    throw new BerthError('stateConflict', `instance "${i.name}" is being rebuilt`, {
      remedy: 'wait until it runs from its new disk',
    });
}

/**
 * Snapshots go with their root disk, but those of data volumes would stay in them for ever.
 * @throws conflict
 */
export async function snapshotsGoWith(
  tx: Tx,
  ctx: RequestContext,
  i: { readonly id: string; readonly name: string },
): Promise<void> {
  const torn = await snapshotWithData(tx, i.id, []);
  if (torn !== null)
    throw new BerthError(
      'conflict',
      `snapshot "${torn.name}" of instance "${i.name}" is also in volume "${torn.volume}", which stays`,
      { remedy: 'delete its snapshots first' },
    );
  await refuseHeld(tx, i);
  const under = await tx.rows<{ id: string }>(
    `SELECT operation_id AS id FROM snapshots WHERE instance_id = $1 AND operation_id IS NOT NULL`,
    [i.id],
  );
  for (const { id } of under) await operationEnd(tx, ctx, id, { state: 'superseded' });
}

/** A snapshot that a data volume is part of whose name is not among these. */
function snapshotWithData(
  tx: Tx,
  instanceId: string,
  kept: readonly string[],
): Promise<{ name: string; volume: string } | null> {
  return tx.row<{ name: string; volume: string }>(
    `SELECT s.name, v.name AS volume FROM snapshots s JOIN snapshot_disks d ON d.snapshot_id = s.id
     JOIN volumes v ON v.id = d.volume_id
     WHERE s.instance_id = $1 AND v.kind = 'data' AND v.name <> ALL ($2) ORDER BY s.created_at LIMIT 1`,
    [instanceId, kept],
  );
}
