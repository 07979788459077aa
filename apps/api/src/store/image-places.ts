import type { Digest, ProjectId } from '@berth/model';
import type { Db } from './db.js';
import { inTx, read } from './db.js';
import type { ImagePlaceRow } from './rows.js';

/** Repositories of one project's images that are told of at most; each costs a push a request at most. */
const placesMost = 8;

/** @see ImageStore.imagePlaceKeep */
export function imagePlaceKeep(
  db: Db,
  imageId: string,
  { registry, repository }: { readonly registry: string; readonly repository: string },
): Promise<void> {
  return inTx(db, async (tx) => {
    await tx.changed(
      // FOR KEY SHARE: an image that is deleted meanwhile is no error.
      `INSERT INTO image_places (image_id, registry, repository, seen_at)
       SELECT id, $2, $3, $4 FROM images WHERE id = $1 FOR KEY SHARE
       ON CONFLICT (image_id, registry, repository) DO UPDATE SET seen_at = EXCLUDED.seen_at`,
      [imageId, registry, repository, tx.now],
    );
  });
}

/** @see ImageStore.imagePlaces */
export async function imagePlaces(
  db: Db,
  projectId: ProjectId,
  registry: string,
  digests: readonly Digest[],
): Promise<readonly ImagePlaceRow[]> {
  const rows = await read<{ repository: string; digests: Digest[] }>(
    db,
    `SELECT p.repository, array_agg(DISTINCT b->>'digest') AS digests
     FROM images i JOIN image_places p ON p.image_id = i.id, jsonb_array_elements(i.content->'blobs') b
     WHERE i.project_id = $1 AND p.registry = $2 AND b->>'digest' = ANY($3)
     GROUP BY p.repository ORDER BY count(DISTINCT b->>'digest') DESC, max(p.seen_at) DESC LIMIT ${placesMost}`,
    [projectId, registry, digests],
  );
  return rows;
}
