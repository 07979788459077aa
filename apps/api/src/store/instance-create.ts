import type { ImageContent, ImageKind, InstanceCreate, InstanceSpec, ProjectId } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, isDuplicate } from './db.js';
import { dependenciesHold, specWaits } from './dependencies.js';
import { sourceDisk, sourceFits, sourceHold, type SourceDisk } from './disk-sources.js';
import { eventsWrite, instanceObject } from './events.js';
import { instanceOf } from './instance-read.js';
import { ipv6Among, nicsAllocate } from './ipam.js';
import { mediaHold } from './live-cdroms.js';
import { nicGroupsHold } from './nic-groups.js';
import { operationOf, operationWrite } from './operations.js';
import { poolNamed } from './pools.js';
import { invalidField, nameTaken } from './refusals.js';
import { secretsHold } from './instance-secrets.js';
import type { InstanceChange, SpecOrigin } from './rows.js';
import { stateRefresh, waitsForScheduler } from './state.js';
import { volumesClaim } from './volume-claims.js';

interface ImageRef {
  id: string;
  kind: ImageKind;
  digest: string;
  content: ImageContent;
}

/** The whole request in one transaction: what is refused leaves nothing. */
export async function instanceCreate(
  db: Db,
  ctx: RequestContext,
  create: { projectId: ProjectId; body: InstanceCreate; deadlineSeconds: number },
): Promise<InstanceChange> {
  try {
    return await inTx(db, (tx) => createIn(tx, ctx, create));
  } catch (error) {
    if (isDuplicate(error, 'instances_project_id_name_key')) throw nameTaken('instance', create.body.name);
    throw error;
  }
}

async function createIn(
  tx: Tx,
  ctx: RequestContext,
  {
    projectId,
    body,
    deadlineSeconds,
  }: { projectId: ProjectId; body: InstanceCreate; deadlineSeconds: number },
): Promise<InstanceChange> {
  const { name, labels, spec } = body;
  const image = await imageFor(tx, projectId, spec);
  const source = await rootSource(tx, projectId, spec, image);
  await dependenciesHold(tx, { projectId, name, spec });
  const poolId = await poolNamed(tx, projectId, spec.rootDisk.pool, '/spec/rootDisk/pool');
  const id = tx.ids.uuid();
  const operationId = await operationWrite(tx, ctx, {
    projectId,
    kind: 'create',
    target: { kind: 'instance', id, name },
    deadlineSeconds,
    state: 'running',
  });
  const runs = spec.desired === 'running' || spec.desired === 'paused';
  await tx.changed(
    `INSERT INTO instances (id, project_id, name, uuid, labels, spec, isolation, desired, generation, run_generation,
       image_id, image_digest, state, reason, operation_id, created_at, updated_at, snapshots_seen_to)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $10, $11, $12, $15, $13, $14, $14, $16)`,
    [
      id,
      projectId,
      name,
      tx.ids.uuid(),
      JSON.stringify(labels),
      JSON.stringify(spec),
      spec.isolation,
      spec.desired,
      runs ? 1 : 0,
      image.id,
      image.digest,
      runs ? 'pending' : 'stopped',
      operationId,
      tx.now,
      // As stateRefresh would say it, so that it finds nothing to change.
      runs ? waitsForScheduler : null,
      spec.snapshots === undefined ? null : tx.now,
    ],
  );
  await revisionWrite(tx, ctx, { id, generation: 1, spec, labels, operationId });
  const rootId = await rootVolumeWrite(tx, { id, projectId, name, spec, poolId, digest: image.digest });
  if (source !== null) await sourceHold(tx, { id: rootId, sizeMiB: spec.rootDisk.sizeMiB }, source);
  await volumesClaim(tx, { id, projectId, spec, liveHost: null });
  await nicGroupsHold(tx, projectId, spec);
  await secretsHold(tx, projectId, spec);
  await mediaHold(tx, projectId, spec);
  await eventsWrite(tx, ctx, [
    {
      class: 'audit',
      type: 'instance.created',
      projectId,
      object: instanceObject({ id, name }),
      operationId,
      data: {
        isolation: spec.isolation,
        image: spec.image,
        desired: spec.desired,
        ...(source === null ? {} : { source: source.asked }),
      },
    },
  ]);
  await stateRefresh(tx, ctx, id);
  // Last, because it locks the network until the commit.
  await nicsAllocate(tx, { id, projectId, nics: spec.nics });
  return { instance: await instanceOf(tx, id), operation: await operationOf(tx, operationId), hosts: [] };
}

/** Where a request names the image and the size of the root disk. */
interface ImageFields {
  readonly image: string;
  readonly size: string;
}
const specFields: ImageFields = { image: '/spec/image', size: '/spec/rootDisk/sizeMiB' };

/** The image that a spec names, if it suits. @throws invalid */
export async function imageFor(
  tx: Tx,
  projectId: ProjectId,
  spec: InstanceSpec,
  fields = specFields,
): Promise<ImageRef> {
  // Locked against removal until the row that refers to it is committed.
  const image = await tx.row<ImageRef & Record<string, unknown>>(
    `SELECT id, kind, digest, content FROM images WHERE project_id = $1 AND name = $2 FOR KEY SHARE`,
    [projectId, spec.image],
  );
  return imageSuits(image, spec, fields);
}

/**
 * What the root disk of a new instance begins as, where that is a snapshot of another one.
 * @throws invalid, stateConflict, unsupported
 */
async function rootSource(
  tx: Tx,
  projectId: ProjectId,
  { rootDisk }: InstanceSpec,
  image: Pick<ImageRef, 'digest'>,
): Promise<SourceDisk | null> {
  if (rootDisk.source === undefined) return null;
  const source = await sourceDisk(tx, projectId, rootDisk.source, '/spec/rootDisk/source');
  if (source.digest !== image.digest)
    throw invalidField(
      specFields.image,
      `is not the image on which the disk of the snapshot stands, which instance "${rootDisk.source.instance}" calls "${source.image}"`,
      `use image "${source.image}"`,
    );
  sourceFits(source, rootDisk.sizeMiB, specFields.size);
  return source;
}

/** @see InstanceStore.originForSpec */
export function originForSpec(db: Db, projectId: ProjectId, spec: InstanceSpec): Promise<SpecOrigin> {
  return inTx(db, async (tx) => {
    const image = await imageFor(tx, projectId, spec);
    const source = await rootSource(tx, projectId, spec, image);
    await mediaHold(tx, projectId, spec);
    const ipv6 = await ipv6Among(tx, projectId, spec);
    const waitsFor = await specWaits(tx, projectId, spec);
    return { digest: image.digest, hostId: source?.hostId ?? null, ipv6, waitsFor };
  });
}

/** @throws invalid */
function imageSuits(image: ImageRef | null, spec: InstanceSpec, fields: ImageFields): ImageRef {
  if (image === null)
    throw invalidField(
      fields.image,
      `names no image of the project ("${spec.image}")`,
      'import it first, or use a name from the image list',
    );
  const needs = spec.isolation === 'vm' ? 'disk' : 'oci';
  if (image.kind !== needs)
    throw invalidField(
      fields.image,
      `is of kind ${image.kind}, and isolation ${spec.isolation} needs ${needs}`,
      image.kind === 'iso'
        ? `put it into a drive (spec.cdroms), and use an image of kind ${needs} here; an empty one, to install a system`
        : `use an image of kind ${needs}, or another isolation`,
    );
  if (image.content.kind === 'disk' && spec.rootDisk.sizeMiB < image.content.virtualSizeMiB)
    throw invalidField(
      fields.size,
      fields.size === fields.image
        ? `has a disk of ${image.content.virtualSizeMiB} MiB, and the root disk is of ${spec.rootDisk.sizeMiB}`
        : `must be at least ${image.content.virtualSizeMiB}, the size of the image's disk`,
      'ask for a larger root disk',
    );
  return image;
}

async function rootVolumeWrite(
  tx: Tx,
  v: { id: string; projectId: string; name: string; spec: InstanceSpec; poolId: string; digest: string },
): Promise<string> {
  const container = v.spec.isolation === 'container';
  const id = tx.ids.uuid();
  await tx.changed(
    `INSERT INTO volumes (id, project_id, pool_id, name, kind, format, size_mib, base_digest, owner_instance_id, delete_with_instance, created_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, true, $10)`,
    [
      id,
      v.projectId,
      v.poolId,
      `${v.name}.root`,
      container ? 'writableLayer' : 'rootDisk',
      container ? 'dir' : 'qcow2',
      v.spec.rootDisk.sizeMiB,
      v.digest,
      v.id,
      tx.now,
    ],
  );
  return id;
}

/** Keeps every spec ever asked for, with who asked. */
export async function revisionWrite(
  tx: Tx,
  ctx: RequestContext,
  r: {
    id: string;
    generation: number;
    spec: InstanceSpec;
    labels: Readonly<Record<string, string>>;
    operationId: string;
  },
): Promise<void> {
  await tx.changed(
    `INSERT INTO instance_revisions (instance_id, generation, spec, labels, actor, trace_id, operation_id, at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [
      r.id,
      r.generation,
      JSON.stringify(r.spec),
      JSON.stringify(r.labels),
      ctx.actor,
      ctx.traceId,
      r.operationId,
      tx.now,
    ],
  );
}
