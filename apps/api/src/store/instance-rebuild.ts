import type { HostId, InstanceSpec, ProjectId } from '@berth/model';
import { BerthError } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx } from './db.js';
import { sourcesLetGo } from './disk-sources.js';
import { eventsWrite, instanceObject } from './events.js';
import {
  assignmentsRaise,
  instanceForRequest,
  live,
  type Locked,
  operationTakes,
  refuseDeleting,
} from './instance-change.js';
import { imageFor, revisionWrite } from './instance-create.js';
import { instanceOf } from './instance-read.js';
import { operationOf } from './operations.js';
import type { InstanceChange } from './rows.js';
import { refuseDiscarded } from './snapshot-guards.js';
import { stateRefresh } from './state.js';

/*
 * A new root disk, of the same image or another, for an instance that keeps all else:
 *   rebuild_image_id set, and a new run asked for where it is wanted running -> no placement lives -> the new root
 *   volume in the place of the old one, which its host is told to remove -> the scheduler's next placement has it
 * The second arrow is taken by the request itself or by whoever places the next run: nobody needs the disk before.
 */

/** @see InstanceStore.instanceRebuild */
export async function instanceRebuild(
  db: Db,
  ctx: RequestContext,
  rebuild: {
    projectId: ProjectId;
    name: string;
    /** Name of the image; the instance's own when absent. */
    image?: string;
    deadlineSeconds: number;
    ifMatch?: number;
  },
): Promise<InstanceChange> {
  return inTx(db, async (tx) => {
    const i = await instanceForRequest(tx, rebuild);
    refuseDeleting(i);
    refuseMoving(i);
    await refuseDiscarded(tx, i);
    // The new disk begins as the image, whatever the old one began as.
    const { source: _, ...rootDisk } = i.spec.rootDisk;
    const spec: InstanceSpec = { ...i.spec, rootDisk, image: rebuild.image ?? i.spec.image };
    const image = await imageFor(tx, i.project_id, spec, { image: '/image', size: '/image' });
    const operationId = await operationTakes(tx, ctx, i, 'rebuild', rebuild.deadlineSeconds);
    const generation = i.generation + 1;
    await tx.changed(
      `UPDATE instances SET spec = $2, generation = $3, run_generation = run_generation + $4, rebuild_image_id = $5, operation_id = $6
       WHERE id = $1`,
      [i.id, JSON.stringify(spec), generation, i.desired === 'stopped' ? 0 : 1, image.id, operationId],
    );
    await revisionWrite(tx, ctx, { id: i.id, generation, spec, labels: i.labels, operationId });
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: 'instance.rebuild',
        projectId: i.project_id,
        object: instanceObject(i),
        operationId,
        data: { image: spec.image, digest: image.digest },
      },
    ]);
    const told = live(i) ? i.host_id : await rootRenew(tx, i.id);
    const hosts = told === null ? [] : [told];
    await stateRefresh(tx, ctx, i.id, true);
    await assignmentsRaise(tx, hosts);
    return { instance: await instanceOf(tx, i.id), operation: await operationOf(tx, operationId), hosts };
  });
}

function refuseMoving(i: Locked): void {
  if (i.desired === 'suspended')
    throw new BerthError('stateConflict', `instance "${i.name}" is suspended, or about to be`, {
      remedy: 'resume it first; or stop it, which discards its memory, and rebuild it then',
    });
  if (i.desired === 'stopped' && live(i))
    throw new BerthError('stateConflict', `instance "${i.name}" is about to stop`, {
      remedy: 'wait until it is stopped, and rebuild it then',
    });
}

/**
 * Puts a new root volume in the place of the one that a rebuild discards, on the same host, if there is a rebuild to be
 * carried out and no placement lives. The instance is locked. Returns the host that is to remove the old one.
 */
export async function rootRenew(tx: Tx, instanceId: string): Promise<HostId | null> {
  const image = await tx.row<{ digest: string }>(
    `UPDATE instances i SET image_id = m.id, image_digest = m.digest, rebuild_image_id = NULL FROM images m
     WHERE i.id = $1 AND m.id = i.rebuild_image_id
       AND NOT EXISTS (SELECT FROM placements p WHERE p.instance_id = i.id AND p.phase <> 'ended') RETURNING m.digest`,
    [instanceId],
  );
  if (image === null) return null;
  const old = await tx.row<{ id: string; host_id: HostId | null; name: string; made: boolean }>(
    `SELECT v.id, v.host_id, v.name, EXISTS (SELECT FROM placements p WHERE p.instance_id = $1 AND p.host_id = v.host_id
       AND p.offered_at >= v.created_at) AS made
     FROM volumes v WHERE v.owner_instance_id = $1 AND v.kind IN ('rootDisk', 'writableLayer') FOR UPDATE`,
    [instanceId],
  );
  if (old === null) throw new Error(`instance ${instanceId} has no root volume`);
  await sourcesLetGo(tx, [old.id]);
  if (old.host_id === null || !old.made) {
    await tx.changed(
      `UPDATE volumes SET base_digest = $2, source = NULL, resource_version = resource_version + 1 WHERE id = $1`,
      [old.id, image.digest],
    );
    return null;
  }
  await tx.changed(
    `UPDATE volumes SET owner_instance_id = NULL, deleting_since = $2, name = $3, resource_version = resource_version + 1 WHERE id = $1`,
    [old.id, tx.now, `${old.name}.${old.id}`],
  );
  await tx.changed(
    `INSERT INTO volumes (id, project_id, pool_id, name, host_id, kind, format, size_mib, base_digest, owner_instance_id, delete_with_instance, created_at)
     SELECT $2, project_id, pool_id, $3, host_id, kind, format, size_mib, $4, $5, true, $6 FROM volumes WHERE id = $1`,
    [old.id, tx.ids.uuid(), old.name, image.digest, instanceId, tx.now],
  );
  await tx.changed(
    `INSERT INTO tombstones (id, host_id, instance_id, volume_id, created_at) VALUES ($1, $2, $3, $4, $5)`,
    [tx.ids.uuid(), old.host_id, instanceId, old.id, tx.now],
  );
  return old.host_id;
}
