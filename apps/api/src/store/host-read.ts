import type { Capabilities, Capacity, Digest, Host, HostId } from '@berth/model';
import type { Db, Tx } from './db.js';
import { inTx, read } from './db.js';
import { portsTaken } from './ports-taken.js';
import type { PlacementSnapshot } from './rows.js';

interface HostRow {
  id: string;
  name: string;
  labels: Record<string, string>;
  schedulable: boolean;
  revoked_at: Date | null;
  boot_id: string | null;
  session: number | null;
  silent_since: Date | null;
  last_seen_at: Date | null;
  clock_ahead_ms: number | null;
  capabilities: Capabilities | null;
  cpu_millis: number | null;
  memory_mib: number | null;
  disk_mib: number | null;
  used_cpu: number;
  used_memory: number;
  used_disk: number;
  instances: number;
  resource_version: number;
  created_at: Date;
}

/** cpu and memory are booked by placements until they end; disk by volumes and snapshots for as long as they exist. */
export const usedOf = (host: string): string => `
  SELECT coalesce(sum(p.cpu_millis), 0)::bigint AS used_cpu, coalesce(sum(p.memory_mib), 0)::bigint AS used_memory,
    count(*) FILTER (WHERE p.role = 'owner') AS instances,
    (SELECT coalesce(sum(v.size_mib), 0)::bigint FROM volumes v WHERE v.host_id = ${host})
      + (SELECT coalesce(sum(s.booked_mib), 0)::bigint FROM snapshots s WHERE s.host_id = ${host}) AS used_disk
  FROM placements p WHERE p.host_id = ${host} AND p.phase <> 'ended'`;

const from = `SELECT h.*, c.cpu_millis, c.memory_mib, c.disk_mib, u.* FROM hosts h
  LEFT JOIN host_capacity c ON c.host_id = h.id CROSS JOIN LATERAL (${usedOf('h.id')}) u WHERE h.removed_at IS NULL`;

const capacityOf = (h: HostRow): Capacity | null =>
  h.cpu_millis === null || h.memory_mib === null || h.disk_mib === null
    ? null
    : { cpuMillis: h.cpu_millis, memoryMiB: h.memory_mib, diskMiB: h.disk_mib };

function stateOf(h: HostRow): { state: Host['state']; reason: string | null } {
  if (h.revoked_at !== null) return { state: 'silent', reason: 'its certificate is revoked' };
  if (h.silent_since !== null)
    return { state: 'silent', reason: `no report since ${(h.last_seen_at ?? h.silent_since).toISOString()}` };
  if (h.session === null) return { state: 'new', reason: 'its agent has not connected yet' };
  if (h.capabilities === null) return { state: 'new', reason: 'its agent has not reported capabilities yet' };
  return { state: 'ready', reason: null };
}

const toHost = (h: HostRow): Host => ({
  id: h.id as HostId,
  name: h.name,
  labels: h.labels,
  schedulable: h.schedulable,
  ...stateOf(h),
  bootId: h.boot_id,
  capabilities: h.capabilities,
  capacity: capacityOf(h),
  used: { cpuMillis: h.used_cpu, memoryMiB: h.used_memory, diskMiB: h.used_disk },
  lastSeenAt: h.last_seen_at?.toISOString() ?? null,
  clockAheadMs: h.clock_ahead_ms,
  resourceVersion: h.resource_version,
  createdAt: h.created_at.toISOString(),
});
type Row = HostRow & Record<string, unknown>;

export async function hostList(db: Db): Promise<readonly Host[]> {
  return (await read<Row>(db, `${from} ORDER BY h.name`)).map(toHost);
}
export async function hostGet(db: Db, name: string): Promise<Host | null> {
  const [row] = await read<Row>(db, `${from} AND h.name = $1`, [name]);
  return row === undefined ? null : toHost(row);
}
export async function hostById(db: Db, id: HostId): Promise<Host | null> {
  const [row] = await read<Row>(db, `${from} AND h.id = $1`, [id]);
  return row === undefined ? null : toHost(row);
}
/** As the open transaction sees it. */
export async function hostOf(tx: Tx, id: string): Promise<Host> {
  const row = await tx.row<Row>(`${from} AND h.id = $1`, [id]);
  if (row === null) throw new Error(`host ${id} is missing`);
  return toHost(row);
}

/** What the scheduler decides on. Not locked: placementCommit looks again. */
export async function snapshotRead(db: Db): Promise<PlacementSnapshot> {
  return inTx(db, async (tx) => {
    await tx.rows('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
    const hosts = await tx.rows<Row>(`${from} ORDER BY h.id`);
    const images = await tx.rows<{ host_id: string; digest: Digest }>(
      'SELECT host_id, digest FROM host_images ORDER BY digest',
    );
    const held = new Map<string, Digest[]>();
    const ports = await portsTaken(tx);
    for (const i of images) held.set(i.host_id, [...(held.get(i.host_id) ?? []), i.digest]);
    return {
      snapshotId: tx.ids.uuid(),
      at: tx.now,
      hosts: hosts.map((h) => ({
        id: h.id as HostId,
        name: h.name,
        labels: h.labels,
        schedulable: h.schedulable,
        state: stateOf(h).state,
        capabilities: h.capabilities,
        capacity: capacityOf(h),
        used: { cpuMillis: h.used_cpu, memoryMiB: h.used_memory, diskMiB: h.used_disk },
        ports: ports.get(h.id) ?? [],
        images: held.get(h.id) ?? [],
        instances: h.instances,
      })),
    };
  });
}
