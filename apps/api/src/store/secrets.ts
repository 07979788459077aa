import type { HostId, ProjectId, Secret, SecretId } from '@berth/model';
import { BerthError } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, read } from './db.js';
import { eventsWrite } from './events.js';
import { assignmentsRaise } from './instance-change.js';
import { invalidField, matchVersion, notFound } from './refusals.js';
import type { SealedSecret } from './rows.js';

interface Row {
  id: SecretId;
  project: string;
  name: string;
  used_by: string[];
  resource_version: number;
  created_at: Date;
  updated_at: Date;
}
type Read = Row & Record<string, unknown>;

// Not the envelope: what lists and answers are made of does not have it.
const from = `SELECT s.id, p.name AS project, s.name, s.resource_version, s.created_at, s.updated_at,
   (SELECT coalesce(jsonb_agg(i.name ORDER BY i.name), '[]') FROM instances i
    WHERE i.project_id = s.project_id AND i.spec->'secrets' @> jsonb_build_array(jsonb_build_object('name', s.name))) AS used_by
 FROM secrets s JOIN projects p ON p.id = s.project_id`;

const toSecret = (s: Row): Secret => ({
  id: s.id,
  project: s.project,
  name: s.name,
  usedBy: s.used_by,
  resourceVersion: s.resource_version,
  createdAt: s.created_at.toISOString(),
  updatedAt: s.updated_at.toISOString(),
});

export async function secretList(db: Db, projectId: ProjectId): Promise<readonly Secret[]> {
  return (await read<Read>(db, `${from} WHERE s.project_id = $1 ORDER BY s.name`, [projectId])).map(toSecret);
}

export async function secretGet(db: Db, projectId: ProjectId, name: string): Promise<Secret | null> {
  const [row] = await read<Read>(db, `${from} WHERE s.project_id = $1 AND s.name = $2`, [projectId, name]);
  return row === undefined ? null : toSecret(row);
}

/** @see SecretStore.secretsSealed */
export function secretsSealed(db: Db, ids: readonly SecretId[]): Promise<readonly SealedSecret[]> {
  return read<SealedSecret & Record<string, unknown>>(
    db,
    `SELECT id, project_id AS "projectId", name, envelope, resource_version AS version FROM secrets WHERE id = ANY ($1) ORDER BY id`,
    [ids],
  );
}

interface Target {
  readonly projectId: ProjectId;
  readonly name: string;
  readonly ifMatch?: number;
}

const locked = (
  tx: Tx,
  { projectId, name }: Target,
): Promise<{ id: string; resource_version: number } | null> =>
  tx.row(`SELECT id, resource_version FROM secrets WHERE project_id = $1 AND name = $2 FOR UPDATE`, [
    projectId,
    name,
  ]);

/** @see SecretStore.secretPut */
export async function secretPut(
  db: Db,
  ctx: RequestContext,
  put: Target & { readonly envelope: string; readonly isText: boolean },
): Promise<{ secret: Secret; hosts: readonly HostId[] }> {
  const { projectId, name, envelope, isText, ifMatch } = put;
  return inTx(db, async (tx) => {
    const known = await locked(tx, put);
    if (known === null && ifMatch !== undefined) throw notFound('secret', name);
    if (known !== null) matchVersion(ifMatch, known.resource_version);
    if (!isText) await refuseVariable(tx, put);
    const written = await tx.row<{ id: string; made: boolean }>(
      `INSERT INTO secrets (id, project_id, name, envelope, is_text, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $6)
       ON CONFLICT (project_id, name) DO UPDATE SET envelope = $4, is_text = $5, updated_at = $6,
         resource_version = secrets.resource_version + 1
       RETURNING id, resource_version = 1 AS made`,
      [tx.ids.uuid(), projectId, name, envelope, isText, tx.now],
    );
    const { id, made } = written ?? { id: '', made: false };
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: made ? 'secret.created' : 'secret.updated',
        projectId,
        object: { kind: 'secret', id, name },
      },
    ]);
    const hosts = await hostsWith(tx, put);
    await assignmentsRaise(tx, hosts);
    const row = await tx.row<Read>(`${from} WHERE s.id = $1`, [id]);
    if (row === null) throw new Error(`secret ${id} is missing`);
    return { secret: toSecret(row), hosts };
  });
}

/** @throws invalid where an instance has it as a variable, which holds no such bytes */
async function refuseVariable(tx: Tx, { projectId, name }: Target): Promise<void> {
  const [user] = await tx.rows<{ name: string }>(
    `SELECT i.name FROM instances i, jsonb_to_recordset(i.spec->'secrets') AS u (name text, env text)
     WHERE i.project_id = $1 AND i.spec->'secrets' @> $3 AND u.name = $2 AND u.env IS NOT NULL ORDER BY i.name LIMIT 1`,
    [projectId, name, JSON.stringify([{ name }])],
  );
  if (user !== undefined)
    throw invalidField(
      '/base64',
      `is no text without NUL, and instance "${user.name}" has it as an environment variable`,
      'have it as a file there (spec.secrets), or give it another value',
    );
}

/** @see SecretStore.secretDelete */
export async function secretDelete(db: Db, ctx: RequestContext, target: Target): Promise<void> {
  const { projectId, name, ifMatch } = target;
  await inTx(db, async (tx) => {
    const known = await locked(tx, target);
    if (known === null) throw notFound('secret', name);
    matchVersion(ifMatch, known.resource_version);
    // A statement of its own: it sees what named the secret before we had its lock.
    const users = await tx.rows<{ name: string }>(
      `SELECT name FROM instances WHERE project_id = $1 AND spec->'secrets' @> $2 ORDER BY name LIMIT 5`,
      [projectId, JSON.stringify([{ name }])],
    );
    if (users.length > 0)
      throw new BerthError(
        'inUse',
        `secret "${name}" is used by ${users.map((u) => `instance "${u.name}"`).join(', ')}`,
        { remedy: 'take it out of their spec.secrets first, or delete them' },
      );
    await tx.changed(`DELETE FROM secrets WHERE id = $1`, [known.id]);
    await eventsWrite(tx, ctx, [
      { class: 'audit', type: 'secret.deleted', projectId, object: { kind: 'secret', id: known.id, name } },
    ]);
  });
}

/** Hosts of instances that have it. */
async function hostsWith(tx: Tx, { projectId, name }: Target): Promise<readonly HostId[]> {
  const rows = await tx.rows<{ host_id: HostId }>(
    `SELECT DISTINCT p.host_id FROM placements p JOIN instances i ON i.id = p.instance_id
     WHERE i.project_id = $1 AND i.spec->'secrets' @> $2 AND p.phase <> 'ended'`,
    [projectId, JSON.stringify([{ name }])],
  );
  return rows.map((r) => r.host_id);
}
