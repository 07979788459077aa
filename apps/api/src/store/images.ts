import type {
  Digest,
  HostId,
  Image,
  ImageContent,
  InstanceId,
  Operation,
  OperationId,
  ProjectId,
} from '@berth/model';
import { BerthError } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, isDuplicate, read } from './db.js';
import { eventsWrite } from './events.js';
import { keyAnswer } from './keyed.js';
import { operationEnd, operationOf } from './operations.js';
import { cursorRead, limitOf, pageOf } from './paging.js';
import { nameTaken, notFound } from './refusals.js';
import type { Page, PageRequest } from './rows.js';

interface ImageRow {
  id: string;
  project: string;
  name: string;
  kind: Image['kind'];
  digest: Digest;
  size_bytes: number;
  content: ImageContent;
  hosts: Image['hosts'] | null;
  resource_version: number;
  created_at: Date;
}
type Row = ImageRow & Record<string, unknown>;

const from = `SELECT i.*, p.name AS project, (
    SELECT jsonb_agg(jsonb_build_object('id', h.id, 'name', h.name) ORDER BY h.name)
    FROM host_images x JOIN hosts h ON h.id = x.host_id WHERE x.digest = i.digest
  ) AS hosts FROM images i JOIN projects p ON p.id = i.project_id`;

const toImage = (r: ImageRow): Image => ({
  id: r.id as Image['id'],
  project: r.project,
  name: r.name,
  kind: r.kind,
  digest: r.digest,
  sizeBytes: r.size_bytes,
  content: r.content,
  hosts: r.hosts ?? [],
  resourceVersion: r.resource_version,
  createdAt: r.created_at.toISOString(),
});

interface ImageDraft {
  readonly projectId: ProjectId;
  readonly name: string;
  readonly content: ImageContent;
  readonly source?: string;
}

export function imageInsert(db: Db, ctx: RequestContext, image: ImageDraft): Promise<Image> {
  return unlessTaken(image.name, () => inTx(db, (tx) => imageWrite(tx, ctx, tx.ids.uuid(), image)));
}

export function imageImported(
  db: Db,
  ctx: RequestContext,
  image: ImageDraft & { readonly operationId: OperationId },
): Promise<{ operation: Operation; image: Image }> {
  return unlessTaken(image.name, () =>
    inTx(db, async (tx) => {
      if (!(await operationEnd(tx, ctx, image.operationId, { state: 'succeeded' })))
        throw new BerthError('stateConflict', 'the import was over before all of it was here', {
          remedy: 'Look at its operation for the reason, and import the image again.',
        });
      const { target } = await operationOf(tx, image.operationId);
      const written = await imageWrite(tx, ctx, target.id, image);
      const made = { operation: await operationOf(tx, image.operationId), image: written };
      await keyAnswer(tx, ctx, made);
      return made;
    }),
  );
}

async function imageWrite(tx: Tx, ctx: RequestContext, id: string, image: ImageDraft): Promise<Image> {
  const { content, name, projectId, source } = image;
  const sizeBytes = content.blobs.reduce((sum, b) => sum + b.sizeBytes, 0);
  await tx.changed(
    `INSERT INTO images (id, project_id, name, kind, digest, size_bytes, content, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [id, projectId, name, content.kind, content.digest, sizeBytes, JSON.stringify(content), tx.now],
  );
  await eventsWrite(tx, ctx, [
    {
      class: 'audit',
      type: 'image.created',
      projectId,
      object: { kind: 'image', id, name },
      data: { digest: content.digest, ...(source === undefined ? {} : { source }) },
    },
  ]);
  const row = await tx.row<Row>(`${from} WHERE i.id = $1`, [id]);
  if (row === null) throw new Error('the image just written is missing');
  return toImage(row);
}

async function unlessTaken<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (isDuplicate(error, 'images_project_id_name_key')) throw nameTaken('image', name);
    throw error;
  }
}

/** @see ImageStore.imageTag */
export function imageTag(
  db: Db,
  ctx: RequestContext,
  projectId: ProjectId,
  name: string,
  as: string,
): Promise<Image> {
  return unlessTaken(as, () =>
    inTx(db, async (tx) => {
      // Its content is on record, and so kept, from before this commit until after it.
      const found = await tx.row<{ content: ImageContent }>(
        `SELECT content FROM images WHERE project_id = $1 AND name = $2 FOR SHARE`,
        [projectId, name],
      );
      if (found === null) throw notFound('image', name);
      const { content } = found;
      const made = await imageWrite(tx, ctx, tx.ids.uuid(), { projectId, name: as, content, source: name });
      await keyAnswer(tx, ctx, made);
      return made;
    }),
  );
}

export async function imageGet(db: Db, projectId: ProjectId, name: string): Promise<Image | null> {
  const [row] = await read<Row>(db, `${from} WHERE i.project_id = $1 AND i.name = $2`, [projectId, name]);
  return row === undefined ? null : toImage(row);
}

export async function imageOfInstance(db: Db, instanceId: InstanceId): Promise<ImageContent | null> {
  const [row] = await read<{ content: ImageContent }>(
    db,
    `SELECT m.content FROM instances i JOIN images m ON m.id = i.image_id WHERE i.id = $1`,
    [instanceId],
  );
  return row?.content ?? null;
}

export async function imageList(db: Db, projectId: ProjectId, page: PageRequest = {}): Promise<Page<Image>> {
  const limit = limitOf(page);
  const after = cursorRead(page, 1);
  const rows = await read<Row>(
    db,
    `${from} WHERE i.project_id = $1 AND ($2::text IS NULL OR i.name > $2) ORDER BY i.name LIMIT $3`,
    [projectId, after?.[0] ?? null, limit + 1],
  );
  return pageOf(rows, limit, (r) => [r.name], toImage);
}

export async function imageDelete(
  db: Db,
  ctx: RequestContext,
  projectId: ProjectId,
  name: string,
): Promise<readonly HostId[]> {
  return inTx(db, async (tx) => {
    // Waits for creates that hold the row, and holds back those that come after.
    const image = await tx.row<{ id: string; digest: Digest }>(
      `SELECT id, digest FROM images WHERE project_id = $1 AND name = $2 FOR UPDATE`,
      [projectId, name],
    );
    if (image === null) throw notFound('image', name);
    const users = await tx.rows<{ name: string }>(
      `SELECT name FROM instances WHERE image_id = $1 OR rebuild_image_id = $1
         OR (project_id = $2 AND spec->'cdroms' @> $3) ORDER BY name LIMIT 11`,
      [image.id, projectId, JSON.stringify([{ image: name }])],
    );
    if (users.length > 0)
      throw new BerthError(
        'inUse',
        `image "${name}" is used by ${users
          .slice(0, 10)
          .map((u) => u.name)
          .join(', ')}${users.length > 10 ? ' and more' : ''}`,
        {
          remedy:
            'delete these instances first, rebuild them from another image, or take it out of their drives',
        },
      );
    await tx.changed(`DELETE FROM images WHERE id = $1`, [image.id]);
    await eventsWrite(tx, ctx, [
      { class: 'audit', type: 'image.deleted', projectId, object: { kind: 'image', id: image.id, name } },
    ]);
    const holders = await tx.rows<{ host_id: HostId }>(`SELECT host_id FROM host_images WHERE digest = $1`, [
      image.digest,
    ]);
    return holders.map((h) => h.host_id);
  });
}

export async function imageBlobs(db: Db): Promise<ReadonlySet<Digest>> {
  const rows = await read<{ digest: Digest }>(
    db,
    `SELECT DISTINCT b->>'digest' AS digest FROM images, jsonb_array_elements(content->'blobs') b`,
  );
  return new Set(rows.map((r) => r.digest));
}

export async function imageBlobWanted(db: Db, hostId: HostId, digest: Digest): Promise<boolean> {
  const rows = await read(
    db,
    `SELECT 1 FROM placements p JOIN instances i ON i.id = p.instance_id JOIN images m ON m.id = i.image_id
         OR (m.project_id = i.project_id AND m.kind = 'iso' AND i.spec->'cdroms' @> jsonb_build_array(jsonb_build_object('image', m.name)))
     WHERE p.host_id = $1 AND p.phase <> 'ended' AND m.content->'blobs' @> jsonb_build_array(jsonb_build_object('digest', $2::text))
     LIMIT 1`,
    [hostId, digest],
  );
  return rows.length > 0;
}

export async function hostsWithUnusedImages(db: Db): Promise<readonly HostId[]> {
  const rows = await read<{ host_id: HostId }>(
    db,
    `SELECT DISTINCT x.host_id FROM host_images x WHERE NOT EXISTS (SELECT FROM images m WHERE m.digest = x.digest) ORDER BY 1`,
  );
  return rows.map((r) => r.host_id);
}

export async function imageBlobHolders(db: Db, digest: Digest): Promise<readonly HostId[]> {
  const rows = await read<{ host_id: HostId }>(
    db,
    `SELECT DISTINCT x.host_id FROM images m JOIN host_images x ON x.digest = m.digest
     WHERE m.content->'blobs' @> jsonb_build_array(jsonb_build_object('digest', $1::text)) ORDER BY x.host_id`,
    [digest],
  );
  return rows.map((r) => r.host_id);
}

/**
 * One transaction of a host's session, with the host's row locked against a newer one until the commit. False, and
 * nothing done, when the session is not the newest.
 */
async function whileSession(
  db: Db,
  hostId: HostId,
  session: number,
  work: (tx: Tx) => Promise<boolean>,
): Promise<boolean> {
  return inTx(db, async (tx) => {
    const held = await tx.row(
      `SELECT 1 FROM hosts WHERE id = $1 AND session = $2 AND removed_at IS NULL FOR KEY SHARE`,
      [hostId, session],
    );
    return held !== null && work(tx);
  });
}

async function imagesSeen(tx: Tx, hostId: HostId, digests: readonly Digest[]): Promise<true> {
  await tx.changed(
    `INSERT INTO host_images (host_id, digest, seen_at) SELECT $1, d, $3 FROM unnest($2::text[]) d
     ON CONFLICT (host_id, digest) DO UPDATE SET seen_at = excluded.seen_at`,
    [hostId, digests, tx.now],
  );
  return true;
}

export async function hostImagesSet(
  db: Db,
  hostId: HostId,
  session: number,
  digests: readonly Digest[],
): Promise<boolean> {
  return whileSession(db, hostId, session, async (tx) => {
    await tx.changed(`DELETE FROM host_images WHERE host_id = $1 AND digest <> ALL ($2)`, [hostId, digests]);
    return imagesSeen(tx, hostId, digests);
  });
}

export async function hostImageAdd(
  db: Db,
  hostId: HostId,
  session: number,
  digest: Digest,
): Promise<boolean> {
  return whileSession(db, hostId, session, (tx) => imagesSeen(tx, hostId, [digest]));
}

export async function hostImageRemove(
  db: Db,
  hostId: HostId,
  session: number,
  digest: Digest,
): Promise<boolean> {
  return whileSession(
    db,
    hostId,
    session,
    async (tx) =>
      (await tx.changed(`DELETE FROM host_images WHERE host_id = $1 AND digest = $2`, [hostId, digest])) > 0,
  );
}
