import type { ProjectId, RegistryCredential } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db } from './db.js';
import { inTx, read, type Tx } from './db.js';
import { eventsWrite } from './events.js';
import { matchVersion, notFound } from './refusals.js';

interface Row {
  id: RegistryCredential['id'];
  project: string;
  host: string;
  kind: RegistryCredential['kind'];
  username: string | null;
  resource_version: number;
  created_at: Date;
  updated_at: Date;
}
type Read = Row & Record<string, unknown>;

// Not the envelope: what lists and answers are made of does not have it.
const from = `SELECT c.id, p.name AS project, c.host, c.kind, c.username, c.resource_version, c.created_at, c.updated_at
  FROM registry_credentials c JOIN projects p ON p.id = c.project_id`;

const toCredential = (c: Row): RegistryCredential => ({
  id: c.id,
  project: c.project,
  host: c.host,
  kind: c.kind,
  username: c.username,
  resourceVersion: c.resource_version,
  createdAt: c.created_at.toISOString(),
  updatedAt: c.updated_at.toISOString(),
});

export async function registryCredentialList(
  db: Db,
  projectId: ProjectId,
): Promise<readonly RegistryCredential[]> {
  return (await read<Read>(db, `${from} WHERE c.project_id = $1 ORDER BY c.host`, [projectId])).map(
    toCredential,
  );
}

export async function registryCredentialGet(
  db: Db,
  projectId: ProjectId,
  host: string,
): Promise<RegistryCredential | null> {
  const [row] = await read<Read>(db, `${from} WHERE c.project_id = $1 AND c.host = $2`, [projectId, host]);
  return row === undefined ? null : toCredential(row);
}

export async function registryCredentialEnvelope(
  db: Db,
  projectId: ProjectId,
  host: string,
): Promise<string | null> {
  const [row] = await read<{ envelope: string }>(
    db,
    `SELECT envelope FROM registry_credentials WHERE project_id = $1 AND host = $2`,
    [projectId, host],
  );
  return row?.envelope ?? null;
}

interface Target {
  readonly projectId: ProjectId;
  readonly host: string;
  readonly ifMatch?: number;
}

const locked = (
  tx: Tx,
  { projectId, host }: Target,
): Promise<{ id: string; resource_version: number } | null> =>
  tx.row(
    `SELECT id, resource_version FROM registry_credentials WHERE project_id = $1 AND host = $2 FOR UPDATE`,
    [projectId, host],
  );

/** @see RegistryStore.registryCredentialPut */
export async function registryCredentialPut(
  db: Db,
  ctx: RequestContext,
  put: Target & Pick<RegistryCredential, 'kind' | 'username'> & { readonly envelope: string },
): Promise<RegistryCredential> {
  const { projectId, host, kind, username, envelope, ifMatch } = put;
  return inTx(db, async (tx) => {
    const known = await locked(tx, put);
    if (known === null && ifMatch !== undefined) throw notFound('registry', host);
    if (known !== null) matchVersion(ifMatch, known.resource_version);
    const written = await tx.row<{ id: string; made: boolean }>(
      `INSERT INTO registry_credentials (id, project_id, host, kind, username, envelope, created_at, updated_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
       ON CONFLICT (project_id, host) DO UPDATE SET kind = $4, username = $5, envelope = $6, updated_at = $7,
         resource_version = registry_credentials.resource_version + 1
       RETURNING id, resource_version = 1 AS made`,
      [tx.ids.uuid(), projectId, host, kind, username, envelope, tx.now],
    );
    const { id, made } = written ?? { id: '', made: false };
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: made ? 'registryCredential.created' : 'registryCredential.updated',
        projectId,
        object: { kind: 'registryCredential', id, name: host },
        data: { kind, username },
      },
    ]);
    const row = await tx.row<Read>(`${from} WHERE c.id = $1`, [id]);
    if (row === null) throw new Error(`credential ${id} is missing`);
    return toCredential(row);
  });
}

/** @see RegistryStore.registryCredentialDelete */
export async function registryCredentialDelete(db: Db, ctx: RequestContext, target: Target): Promise<void> {
  const { projectId, host, ifMatch } = target;
  await inTx(db, async (tx) => {
    const known = await locked(tx, target);
    if (known === null) throw notFound('registry', host);
    matchVersion(ifMatch, known.resource_version);
    await tx.changed(`DELETE FROM registry_credentials WHERE id = $1`, [known.id]);
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: 'registryCredential.deleted',
        projectId,
        object: { kind: 'registryCredential', id: known.id, name: host },
      },
    ]);
  });
}
