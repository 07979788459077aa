import type { ImageKind, Operation, OperationId, OperationKind, ProjectId } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, read } from './db.js';
import { eventsWrite } from './events.js';
import { operationOf, operationWrite } from './operations.js';
import { holderGone } from './presence.js';
import { nameTaken, notFound } from './refusals.js';
import type { ImageImportDraft, ImageImportRow } from './rows.js';

/*
 * Imports from an address or a registry, commits, and pushes. The operation says how one stands; the row beside it has what the download needs, and who does it:
 *
 *   begun by a process (holder) -> its operation ends
 *      | that process died
 *      +-> claimed by the next
 */

interface Row {
  operation_id: OperationId;
  project_id: ProjectId;
  project: string;
  image_id: string;
  name: string;
  kind: ImageKind;
  transport: ImageImportRow['transport'];
  envelope: string;
  source: string;
  sha256: string | null;
  actor: string;
  trace_id: string;
}

const toImport = (r: Row): ImageImportRow => ({
  operationId: r.operation_id,
  projectId: r.project_id,
  project: r.project,
  imageId: r.image_id,
  name: r.name,
  kind: r.kind,
  transport: r.transport,
  envelope: r.envelope,
  source: r.source,
  sha256: r.sha256,
  actor: r.actor,
  traceId: r.trace_id,
});

export async function imageImportBegin(
  db: Db,
  ctx: RequestContext,
  draft: ImageImportDraft,
): Promise<Operation> {
  return inTx(db, async (tx) => {
    if (draft.transport === 'push') await imageHeld(tx, draft);
    else await refuseTaken(tx, draft);
    const target = { kind: 'image' as const, id: draft.imageId, name: draft.name };
    const { projectId, deadlineSeconds, source } = draft;
    const kind = kindOf(draft);
    const operation = { projectId, kind, target, deadlineSeconds };
    const id = await operationWrite(tx, ctx, { ...operation, state: 'running' });
    await tx.changed(
      `INSERT INTO image_imports (operation_id, kind, transport, envelope, source, sha256, holder) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
      [id, draft.kind, draft.transport, draft.envelope, source, draft.sha256, db.presence.holder],
    );
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: `image.${kind}`,
        projectId,
        object: target,
        operationId: id,
        data: { source },
      },
    ]);
    return operationOf(tx, id);
  });
}

const kindOf = ({ transport }: ImageImportDraft): OperationKind =>
  transport === 'commit' ? 'imageCommit' : transport === 'push' ? 'imagePush' : 'imageImport';

/** The image that is to be pushed, against its removal until this is recorded. @throws notFound */
async function imageHeld(tx: Tx, { imageId, name }: ImageImportDraft): Promise<void> {
  if ((await tx.row(`SELECT 1 FROM images WHERE id = $1 FOR SHARE`, [imageId])) === null)
    throw notFound('image', name);
}

/** Early, so that nobody downloads for nothing; the image's own row decides at the end. @throws nameTaken */
async function refuseTaken(tx: Tx, { projectId, name }: ImageImportDraft): Promise<void> {
  const taken = await tx.row(
    `SELECT 1 WHERE EXISTS (SELECT FROM images WHERE project_id = $1 AND name = $2)
       OR EXISTS (SELECT FROM image_imports m JOIN operations o ON o.id = m.operation_id
                  WHERE o.project_id = $1 AND o.target_name = $2 AND o.state IN ('pending', 'running'))`,
    [projectId, name],
  );
  if (taken !== null) throw nameTaken('image', name);
}

export async function imageImportsClaim(db: Db): Promise<readonly ImageImportRow[]> {
  const rows = await read<Row & Record<string, unknown>>(
    db,
    // Locked in one order, as two that begin at the same moment would wait for each other.
    `WITH due AS (SELECT m.operation_id FROM image_imports m JOIN operations o ON o.id = m.operation_id
       WHERE o.state IN ('pending', 'running') AND $1::int IS NOT NULL
         AND (m.holder IS NULL OR m.holder = $1 OR ${holderGone('m.holder')})
       ORDER BY m.operation_id FOR UPDATE OF m)
     UPDATE image_imports m SET holder = $1 FROM due, operations o JOIN projects p ON p.id = o.project_id
     WHERE m.operation_id = due.operation_id AND o.id = m.operation_id
     RETURNING m.operation_id, o.project_id, p.name AS project, o.target_id AS image_id, o.target_name AS name, m.kind, m.transport, m.envelope,
       m.source, m.sha256, o.actor, o.trace_id`,
    [db.presence.holder],
  );
  return rows.map(toImport);
}

/** A finished import's address is not kept. */
export async function imageImportsTrim(db: Db): Promise<number> {
  const rows = await read(
    db,
    `DELETE FROM image_imports m USING operations o WHERE o.id = m.operation_id AND o.state NOT IN ('pending', 'running') RETURNING 1`,
  );
  return rows.length;
}
