import type { Network, NetworkCreate, NetworkId, ProjectId } from '@berth/model';
import { BerthError, cidrHolds6, ipv6Number, ipv6Text } from '@berth/model';
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
  cidr6: string | null;
  gateway6: string | null;
  internal: boolean;
  resource_version: number;
  created_at: Date;
}
type Read = Row & Record<string, unknown>;

const from = `SELECT w.id, p.name AS project, w.name, w.scope, w.cidr, host(w.gateway) AS gateway, w.cidr6, host(w.gateway6) AS gateway6, w.internal, w.resource_version, w.created_at
  FROM networks w JOIN projects p ON p.id = w.project_id`;

const toNetwork = (w: Row): Network => ({
  id: w.id,
  project: w.project,
  name: w.name,
  scope: w.scope,
  cidr: w.cidr,
  gateway: w.gateway,
  ipv6Cidr: w.cidr6,
  ipv6Gateway: w.gateway6,
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
      if (!anyRange) await rangesOwn(tx, body);
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
          data: { cidr: made.cidr, ipv6Cidr: made.ipv6Cidr, internal: made.internal },
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

/** The two ranges of a network, by the field of the request and the column. */
const ranges = {
  cidr: { column: 'cidr', called: 'subnet', supernet: 'networkSupernet' },
  ipv6Cidr: { column: 'cidr6', called: 'IPv6 prefix', supernet: 'networkSupernet6' },
} as const;
type Range = keyof typeof ranges;

/**
 * A network with the ranges that are asked for, or the lowest free /24 of the supernet; and of the other one, where it is to have IPv6, the
 * lowest free /64. The lock keeps two requests from choosing the same one.
 * @throws conflict (one overlaps another network's), unavailable (supernet used up)
 */
export async function networkWrite(
  tx: Tx,
  network: NetworkCreate & { readonly projectId: ProjectId },
): Promise<NetworkId> {
  await tx.rows('SELECT pg_advisory_xact_lock($1)', [subnetLock]);
  const cidr = await rangeTake(tx, network.projectId, 'cidr', network.cidr ?? 'auto');
  const { ipv6Cidr } = network;
  const cidr6 = ipv6Cidr === undefined ? null : await rangeTake(tx, network.projectId, 'ipv6Cidr', ipv6Cidr);
  const id = tx.ids.uuid() as NetworkId;
  await tx.changed(
    `INSERT INTO networks (id, project_id, name, scope, cidr, gateway, cidr6, gateway6, internal, created_at)
     VALUES ($1, $2, $3, 'host', $4, host($4::cidr::inet + 1)::inet, $7, host($7::cidr::inet + 1)::inet, $5, $6)`,
    [id, network.projectId, network.name, cidr, network.internal ?? false, tx.now, cidr6],
  );
  return id;
}

async function rangeTake(tx: Tx, projectId: ProjectId, range: Range, wanted: string): Promise<string> {
  if (wanted !== 'auto') {
    await rangeApart(tx, projectId, range, wanted);
    return wanted;
  }
  const free = range === 'cidr' ? await subnetChoose(tx) : await prefixChoose(tx);
  if (free !== null) return free;
  const { called, supernet } = ranges[range];
  throw new BerthError('unavailable', `no ${called} is left in ${tx.options[supernet]}`, {
    remedy: `delete networks that are not needed, or configure a larger ${supernet}`,
  });
}

async function subnetChoose(tx: Tx): Promise<string | null> {
  const free = await tx.row<{ cidr: string }>(
    `SELECT cut.cidr FROM (SELECT set_masklen(network($1::inet)::inet + n * 256, 24)::cidr AS cidr
       FROM generate_series(0, (2 ^ greatest(24 - masklen($1::inet), 0))::bigint - 1) n) cut
     WHERE NOT EXISTS (SELECT FROM networks w WHERE w.cidr && cut.cidr) ORDER BY cut.cidr LIMIT 1`,
    [tx.options.networkSupernet],
  );
  return free?.cidr ?? null;
}

/** Postgres counts addresses in 64 bits, so /64 are counted here: each taken prefix is in one of them. */
async function prefixChoose(tx: Tx): Promise<string | null> {
  const { networkSupernet6 } = tx.options;
  const rows = await tx.rows<{ cidr6: string }>(`SELECT cidr6 FROM networks WHERE cidr6 && $1::cidr`, [
    networkSupernet6,
  ]);
  const taken = new Set(rows.map(({ cidr6 }) => ipv6Number(cidr6) >> 64n));
  let free = ipv6Number(networkSupernet6) >> 64n;
  while (taken.has(free)) free += 1n;
  const address = ipv6Text(free << 64n);
  return cidrHolds6(networkSupernet6, address) ? `${address}/64` : null;
}

/**
 * A bridge takes its ranges out of what its host reaches otherwise: who has a project alone gets no say in where the
 * host's packets for a server of the company go. @throws forbidden
 */
async function rangesOwn(tx: Tx, body: NetworkCreate): Promise<void> {
  for (const range of ['cidr', 'ipv6Cidr'] as const) {
    const wanted = body[range];
    if (wanted === undefined || wanted === 'auto') continue;
    const supernet = tx.options[ranges[range].supernet];
    const within = await tx.row<{ yes: boolean }>(`SELECT $1::cidr <<= $2::inet AS yes`, [wanted, supernet]);
    if (within?.yes === true) continue;
    const free = range === 'cidr' ? 'leave cidr out' : 'say auto';
    const remedy = `choose one in ${supernet}, ${free}, or ask an administrator of the cluster`;
    throw new BerthError('forbidden', `${range} ${wanted} is not in ${supernet}, the range of networks`, {
      remedy,
      errors: [{ path: `/${range}`, code: 'forbidden', message: `must be in ${supernet}`, remedy }],
    });
  }
}

/** All bridges of a host share its routing table, so no two networks of any project overlap. @throws conflict */
async function rangeApart(tx: Tx, projectId: ProjectId, range: Range, cidr: string): Promise<void> {
  const { column } = ranges[range];
  const other = await tx.row<{ name: string; cidr: string; own: boolean }>(
    `SELECT name, ${column} AS cidr, project_id = $1 AS own FROM networks WHERE ${column} && $2::cidr ORDER BY project_id = $1 DESC, ${column} LIMIT 1`,
    [projectId, cidr],
  );
  if (other === null) return;
  // What another project has is not told: only that this does not go.
  const whose = other.own ? `network "${other.name}" (${other.cidr})` : 'a network of another project';
  const remedy =
    range === 'cidr'
      ? 'choose another private range, or leave cidr out and a free one is chosen'
      : 'choose another prefix, or say auto and a free one is chosen';
  throw new BerthError('conflict', `${range} ${cidr} overlaps ${whose}`, {
    remedy,
    errors: [{ path: `/${range}`, code: 'conflict', message: `overlaps ${whose}`, remedy }],
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
