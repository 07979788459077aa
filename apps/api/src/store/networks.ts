import type { Network, NetworkCreate, NetworkId, ProjectId } from '@berth/model';
import { BerthError } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, isDuplicate, read } from './db.js';
import { eventsWrite } from './events.js';
import { keyAnswer } from './keyed.js';
import { matchVersion, nameTaken, notFound } from './refusals.js';

interface Row {
  id: NetworkId;
  project: string;
  name: string;
  scope: Network['scope'];
  cidr: string;
  gateway: string;
  internal: boolean;
  resource_version: number;
  created_at: Date;
}
type Read = Row & Record<string, unknown>;

const from = `SELECT w.id, p.name AS project, w.name, w.scope, w.cidr, host(w.gateway) AS gateway, w.internal, w.resource_version, w.created_at
  FROM networks w JOIN projects p ON p.id = w.project_id`;

const toNetwork = (w: Row): Network => ({
  id: w.id,
  project: w.project,
  name: w.name,
  scope: w.scope,
  cidr: w.cidr,
  gateway: w.gateway,
  internal: w.internal,
  resourceVersion: w.resource_version,
  createdAt: w.created_at.toISOString(),
});

const networkObject = ({ id, name }: { id: string; name: string }) => ({
  kind: 'network' as const,
  id,
  name,
});

export async function networkList(db: Db, projectId: ProjectId): Promise<readonly Network[]> {
  return (await read<Read>(db, `${from} WHERE w.project_id = $1 ORDER BY w.name`, [projectId])).map(
    toNetwork,
  );
}

export async function networkGet(db: Db, projectId: ProjectId, name: string): Promise<Network | null> {
  const [row] = await read<Read>(db, `${from} WHERE w.project_id = $1 AND w.name = $2`, [projectId, name]);
  return row === undefined ? null : toNetwork(row);
}

/** @see NetworkStore.networkCreate */
export async function networkCreate(
  db: Db,
  ctx: RequestContext,
  { projectId, body, anyRange }: { projectId: ProjectId; body: NetworkCreate; anyRange: boolean },
): Promise<Network> {
  try {
    return await inTx(db, async (tx) => {
      if (body.cidr !== undefined && !anyRange) await subnetOwn(tx, body.cidr);
      const id = await networkWrite(tx, { projectId, ...body });
      const row = await tx.row<Read>(`${from} WHERE w.id = $1`, [id]);
      if (row === null) throw new Error(`network ${id} is missing`);
      const made = toNetwork(row);
      await eventsWrite(tx, ctx, [
        {
          class: 'audit',
          type: 'network.created',
          projectId,
          object: networkObject(made),
          data: { cidr: made.cidr, internal: made.internal },
        },
      ]);
      await keyAnswer(tx, ctx, made);
      return made;
    });
  } catch (error) {
    if (isDuplicate(error, 'networks_project_id_name_key')) throw nameTaken('network', body.name);
    throw error;
  }
}

const subnetLock = 0x62_65_72_76;

/**
 * A network with the subnet that is asked for, or the lowest free /24 of the supernet. The lock keeps two requests from choosing
 * the same one. @throws conflict (the subnet overlaps another network's), unavailable (supernet used up)
 */
export async function networkWrite(
  tx: Tx,
  network: NetworkCreate & { readonly projectId: ProjectId },
): Promise<NetworkId> {
  await tx.rows('SELECT pg_advisory_xact_lock($1)', [subnetLock]);
  const cidr = network.cidr ?? (await subnetChoose(tx));
  if (network.cidr !== undefined) await subnetApart(tx, network.projectId, cidr);
  const id = tx.ids.uuid() as NetworkId;
  await tx.changed(
    `INSERT INTO networks (id, project_id, name, scope, cidr, gateway, internal, created_at)
     VALUES ($1, $2, $3, 'host', $4, host($4::cidr::inet + 1)::inet, $5, $6)`,
    [id, network.projectId, network.name, cidr, network.internal ?? false, tx.now],
  );
  return id;
}

async function subnetChoose(tx: Tx): Promise<string> {
  const { networkSupernet } = tx.options;
  const free = await tx.row<{ cidr: string }>(
    `SELECT cut.cidr FROM (SELECT set_masklen(network($1::inet)::inet + n * 256, 24)::cidr AS cidr
       FROM generate_series(0, (2 ^ greatest(24 - masklen($1::inet), 0))::bigint - 1) n) cut
     WHERE NOT EXISTS (SELECT FROM networks w WHERE w.cidr && cut.cidr) ORDER BY cut.cidr LIMIT 1`,
    [networkSupernet],
  );
  if (free === null)
    throw new BerthError('unavailable', `no subnet is left in ${networkSupernet}`, {
      remedy: 'delete networks that are not needed, or configure a larger network supernet',
    });
  return free.cidr;
}

/**
 * A bridge takes its subnet out of what its host reaches otherwise: who has a project alone gets no say in where the
 * host's packets for a server of the company go. @throws forbidden
 */
async function subnetOwn(tx: Tx, cidr: string): Promise<void> {
  const { networkSupernet } = tx.options;
  const within = await tx.row<{ yes: boolean }>(`SELECT $1::cidr <<= $2::inet AS yes`, [
    cidr,
    networkSupernet,
  ]);
  if (within?.yes === true) return;
  const remedy = `choose one in ${networkSupernet}, leave cidr out, or ask an administrator of the cluster`;
  throw new BerthError('forbidden', `cidr ${cidr} is not in ${networkSupernet}, the range of networks`, {
    remedy,
    errors: [{ path: '/cidr', code: 'forbidden', message: `must be in ${networkSupernet}`, remedy }],
  });
}

/** All bridges of a host share its routing table, so no two networks of any project overlap. @throws conflict */
async function subnetApart(tx: Tx, projectId: ProjectId, cidr: string): Promise<void> {
  const other = await tx.row<{ name: string; cidr: string; own: boolean }>(
    `SELECT name, cidr, project_id = $1 AS own FROM networks WHERE cidr && $2::cidr ORDER BY project_id = $1 DESC, cidr LIMIT 1`,
    [projectId, cidr],
  );
  if (other === null) return;
  // What another project has is not told: only that this does not go.
  const whose = other.own ? `network "${other.name}" (${other.cidr})` : 'a network of another project';
  const remedy = 'choose another private range, or leave cidr out and a free one is chosen';
  throw new BerthError('conflict', `cidr ${cidr} overlaps ${whose}`, {
    remedy,
    errors: [{ path: '/cidr', code: 'conflict', message: `overlaps ${whose}`, remedy }],
  });
}

/** @see NetworkStore.networkDelete */
export async function networkDelete(
  db: Db,
  ctx: RequestContext,
  { projectId, name, ifMatch }: { projectId: ProjectId; name: string; ifMatch?: number },
): Promise<void> {
  await inTx(db, async (tx) => {
    const known = await tx.row<{ id: string; resource_version: number }>(
      `SELECT id, resource_version FROM networks WHERE project_id = $1 AND name = $2 FOR UPDATE`,
      [projectId, name],
    );
    if (known === null) throw notFound('network', name);
    matchVersion(ifMatch, known.resource_version);
    // A statement of its own: it sees the nics that were made before we had the lock.
    const users = await tx.rows<{ name: string; total: number }>(
      `SELECT i.name, count(*) OVER ()::int AS total FROM nics n JOIN instances i ON i.id = n.instance_id
       WHERE n.network_id = $1 ORDER BY i.name LIMIT 5`,
      [known.id],
    );
    if (users.length > 0) {
      const more = (users[0]?.total ?? 0) - users.length;
      const by = users.map((u) => `"${u.name}"`).join(', ') + (more > 0 ? ` and ${more} more` : '');
      throw new BerthError('inUse', `network "${name}" has nics of instances: ${by}`, {
        remedy: 'delete these instances first; one that is being deleted has its nics until it is gone',
      });
    }
    await tx.changed(`DELETE FROM networks WHERE id = $1`, [known.id]);
    await eventsWrite(tx, ctx, [
      { class: 'audit', type: 'network.deleted', projectId, object: networkObject({ id: known.id, name }) },
    ]);
  });
}
