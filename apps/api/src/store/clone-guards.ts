import { BerthError } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Tx } from './db.js';
import { operationEnd } from './operations.js';

/* What may not be done to a volume, or by its instance, while it is copied; and how a copy is given up. */

/** Called with the instance locked. @throws stateConflict while one of its volumes is copied, so that nothing may write it */
export async function refuseCloned(tx: Tx, i: { readonly id: string; readonly name: string }): Promise<void> {
  const under = await tx.row<{ name: string; clone: string }>(
    `SELECT v.name, n.name AS clone FROM volumes v JOIN volume_clones c ON c.source_volume_id = v.id
     JOIN volumes n ON n.id = c.volume_id WHERE v.owner_instance_id = $1 LIMIT 1`,
    [i.id],
  );
  if (under !== null)
    throw new BerthError(
      'stateConflict',
      `volume "${under.name}" of instance "${i.name}" is being copied to volume "${under.clone}"`,
      { remedy: `wait until that is done, or delete "${under.clone}"` },
    );
}

/** Called with the volume locked, which is about to be deleted: its copy is given up. @throws conflict while it is copied itself */
export async function cloneCancel(tx: Tx, ctx: RequestContext, v: { readonly id: string }): Promise<void> {
  const reader = await tx.row<{ name: string }>(
    `SELECT n.name FROM volume_clones c JOIN volumes n ON n.id = c.volume_id WHERE c.source_volume_id = $1 LIMIT 1`,
    [v.id],
  );
  if (reader !== null)
    throw new BerthError('conflict', `it is being copied to volume "${reader.name}"`, {
      remedy: `wait until that is done, or delete "${reader.name}"`,
    });
  const own = await tx.row<{ id: string }>(
    `DELETE FROM volume_clones WHERE volume_id = $1 RETURNING operation_id AS id`,
    [v.id],
  );
  const made = await tx.row<{ id: string }>(
    `SELECT operation_id AS id FROM volume_exports WHERE volume_id = $1`,
    [v.id],
  );
  const asked = own ?? made;
  if (asked !== null) await operationEnd(tx, ctx, asked.id, { state: 'cancelled' });
}
