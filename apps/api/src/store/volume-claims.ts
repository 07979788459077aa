import type { HostId, InstanceSpec, ProjectId, VolumeFormat } from '@berth/model';
import { BerthError } from '@berth/model';
import { diskRoom } from './capacity.js';
import type { RequestContext } from './context.js';
import type { Tx } from './db.js';
import { eventsWrite } from './events.js';
import { invalidField } from './refusals.js';

/*
 * Which instance has a data volume. A request claims what its spec names; a claim ends only when nothing can use the
 * volume any more: its instance has no live placement, or its host said that the guest has let go. So a volume never
 * has two instances, however fast it is moved between them.
 */

interface Claimable {
  id: string;
  name: string;
  host_id: HostId | null;
  host: string | null;
  format: VolumeFormat;
  size_mib: number;
  owner_instance_id: string | null;
  owner: string | null;
  deleting: boolean;
  /** It is copied, or is a copy that is not whole. */
  cloning: boolean;
}

interface Claimer {
  readonly id: string;
  readonly projectId: ProjectId;
  readonly spec: Pick<InstanceSpec, 'isolation' | 'volumes'>;
  /** Where it runs, or is about to: what it is given must be there. */
  readonly liveHost: HostId | null;
}

/** @throws invalid (no such volume), inUse, stateConflict (being deleted), conflict (on different hosts), noRoom */
export async function volumesClaim(tx: Tx, claimer: Claimer): Promise<void> {
  const names = claimer.spec.volumes.map((v) => v.name);
  if (names.length === 0) return;
  await tx.rows(
    `SELECT 1 FROM volumes WHERE project_id = $1 AND kind = 'data' AND name = ANY ($2) ORDER BY id FOR UPDATE`,
    [claimer.projectId, names],
  );
  // A statement of its own: it sees what the holders of the locks before us committed.
  const found = await tx.rows<Claimable & Record<string, unknown>>(
    `SELECT v.id, v.name, v.host_id, h.name AS host, v.format, v.size_mib, v.owner_instance_id, i.name AS owner,
       v.deleting_since IS NOT NULL AS deleting,
       EXISTS (SELECT FROM volume_clones c WHERE v.id IN (c.volume_id, c.source_volume_id)) AS cloning
     FROM volumes v LEFT JOIN hosts h ON h.id = v.host_id LEFT JOIN instances i ON i.id = v.owner_instance_id
     WHERE v.project_id = $1 AND v.kind = 'data' AND v.name = ANY ($2)`,
    [claimer.projectId, names],
  );
  const byName = new Map(found.map((v) => [v.name, v]));
  const claimed = names.map((name, i) =>
    claimable(claimer, byName.get(name), `/spec/volumes/${i}/name`, name),
  );
  await sameHost(tx, claimer, claimed);
  const fresh = claimed.filter((v) => v.owner_instance_id === null);
  await placeBeside(tx, claimer, fresh);
  await tx.changed(
    `UPDATE volumes SET owner_instance_id = $1, resource_version = resource_version + 1 WHERE id = ANY ($2)`,
    [claimer.id, fresh.map((v) => v.id)],
  );
}

/** @throws invalid, inUse, stateConflict */
function claimable(claimer: Claimer, v: Claimable | undefined, path: string, name: string): Claimable {
  if (v === undefined)
    throw invalidField(
      path,
      `names no data volume of the project ("${name}")`,
      'create it first: POST …/volumes, or berth volume create',
    );
  suits(claimer, v, path);
  const busy = (message: string, remedy: string): BerthError =>
    new BerthError('stateConflict', `volume "${name}" ${message}`, {
      remedy,
      errors: [{ path, code: 'stateConflict', message, remedy }],
    });
  if (v.deleting) throw busy('is being deleted', 'use another volume');
  if (v.owner_instance_id === claimer.id) return v;
  if (v.owner_instance_id === null) {
    if (v.cloning)
      throw busy(
        'is being copied, or is a copy that is not whole yet',
        'wait until that operation has ended',
      );
    return v;
  }
  const message = `is attached to instance "${v.owner ?? ''}"`;
  const remedy = `take it out of that instance's spec.volumes, and wait until the volume's owner is null`;
  throw new BerthError('inUse', `volume "${name}" ${message}`, {
    remedy,
    errors: [{ path, code: 'inUse', message, remedy }],
  });
}

/**
 * The host's kernel mounts only file systems that Berth made and that nothing but containers wrote: a disk may hold whatever its machine, or
 * whoever uploaded it, wrote there. @throws invalid
 */
function suits({ spec }: Claimer, { format, name }: Claimable, path: string): void {
  if (spec.isolation === 'container' && format !== 'ext4')
    throw invalidField(
      path,
      `is a disk (format ${format}), which only a vm can have: its host does not mount what machines wrote`,
      `create one of format ext4: berth volume create ${name}-files --files`,
    );
  if (spec.isolation === 'vm' && format === 'ext4')
    throw invalidField(
      path,
      'is a file system (format ext4), which only a container can have',
      'create one of format qcow2 or raw',
    );
}

/** A volume stays on its host, so all that an instance has must be on one. @throws conflict */
async function sameHost(tx: Tx, claimer: Claimer, claimed: readonly Claimable[]): Promise<void> {
  const root = await tx.row<{ host_id: HostId; host: string }>(
    `SELECT v.host_id, h.name AS host FROM volumes v JOIN hosts h ON h.id = v.host_id
     WHERE v.owner_instance_id = $1 AND v.kind <> 'data'`,
    [claimer.id],
  );
  const placed = [
    ...(root === null ? [] : [{ what: 'its root disk', ...root }]),
    ...claimed.flatMap(({ name, host_id, host }) =>
      host_id === null || host === null ? [] : [{ what: `volume "${name}"`, host_id, host }],
    ),
  ];
  const first = placed[0];
  const other = placed.find((p) => p.host_id !== first?.host_id);
  if (first === undefined || other === undefined) return;
  throw new BerthError(
    'conflict',
    `${other.what} is on host ${other.host}, and ${first.what} on host ${first.host}`,
    { remedy: 'use volumes of one host; data moves between hosts by way of a guest' },
  );
}

/** What was on no host yet is made where the instance runs. @throws noRoom */
async function placeBeside(tx: Tx, { liveHost }: Claimer, fresh: readonly Claimable[]): Promise<void> {
  const homeless = fresh.filter((v) => v.host_id === null);
  if (liveHost === null || homeless.length === 0) return;
  await diskRoom(
    tx,
    liveHost,
    homeless.reduce((sum, v) => sum + v.size_mib, 0),
  );
  await tx.changed(`UPDATE volumes SET host_id = $1 WHERE id = ANY ($2)`, [
    liveHost,
    homeless.map((v) => v.id),
  ]);
}

/** Ends the claims that nothing needs any more. Call it with the instance locked, after what may have ended them. */
export async function volumesRelease(tx: Tx, ctx: RequestContext, instanceId: string): Promise<void> {
  const released = await tx.rows<{ id: string; name: string; project_id: ProjectId; instance: string }>(
    `UPDATE volumes v SET owner_instance_id = NULL, resource_version = v.resource_version + 1 FROM instances i
     WHERE i.id = $1 AND v.owner_instance_id = i.id AND v.kind = 'data'
       AND NOT i.spec->'volumes' @> jsonb_build_array(jsonb_build_object('name', v.name))
       AND NOT EXISTS (SELECT FROM placements p WHERE p.instance_id = i.id AND p.phase <> 'ended'
         AND (p.applied_generation IS NULL OR p.applied_generation < i.generation OR p.volumes @> to_jsonb(v.id::text)))
     RETURNING v.id, v.name, v.project_id, i.name AS instance`,
    [instanceId],
  );
  await eventsWrite(
    tx,
    ctx,
    released.map(({ id, name, project_id, instance }) => ({
      class: 'lifecycle',
      type: 'volume.released',
      projectId: project_id,
      object: { kind: 'volume', id, name },
      data: { instance },
    })),
  );
}
