import type {
  Desired,
  Digest,
  DiskSource,
  HostId,
  HostNetworkSpec,
  HostPort,
  HostVolume,
  ImageContent,
  InstanceSpec,
  Sizes,
  VolumeFormat,
} from '@berth/model';
import type { Db, Tx } from './db.js';
import { inTx } from './db.js';
import { incarnationOf, incarnationSince } from './meta.js';
import { clonesRead } from './volume-clones.js';
import { ordersRead } from './snapshot-reports.js';
import { groupsRead } from './security-groups.js';
import type { AssignmentList, AssignmentRow, TombstoneRow } from './rows.js';

/** A disk of a vm, or what a container has at a path. */
type PlacedVolume = Omit<HostVolume, 'format'> & {
  readonly format: VolumeFormat;
  readonly path: string | null;
};

interface PlacedRow {
  instance_id: AssignmentRow['instanceId'];
  epoch: number;
  project: string;
  name: string;
  uuid: string;
  generation: number;
  spec: InstanceSpec;
  content: ImageContent;
  desired: Desired;
  stop_grace_seconds: number | null;
  deleting: boolean;
  current: boolean;
  volume_id: AssignmentRow['rootVolume']['id'];
  size_mib: number;
  source: DiskSource | null;
  volumes: PlacedVolume[] | null;
  sizes: Sizes | null;
  nics: AssignmentRow['nics'] | null;
  cdroms: AssignmentRow['cdroms'] | null;
  secrets: AssignmentRow['secrets'] | null;
  phase: AssignmentRow['phase'];
  run: number;
}

/**
 * Marks every placement of the host as offered, then reads the list. The commit comes before the return, so no byte of
 * an assignment can leave before it is on record that it may have.
 */
export async function assignmentsOffer(db: Db, hostId: HostId): Promise<AssignmentList | null> {
  return inTx(db, async (tx) => {
    await tx.changed(
      `UPDATE placements SET offered_at = $2 WHERE host_id = $1 AND phase <> 'ended' AND offered_at IS NULL`,
      [hostId, tx.now],
    );
    return listRead(tx, hostId, true);
  });
}

export async function assignmentsRead(db: Db, hostId: HostId): Promise<AssignmentList | null> {
  return inTx(db, async (tx) => {
    await tx.rows('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
    return listRead(tx, hostId, false);
  });
}

/**
 * The revision is read before the rows: what commits in between makes the list newer than its number says, and raises
 * the number, so the list goes out again. The other order could give an old list a new number.
 */
async function listRead(tx: Tx, hostId: HostId, offeredOnly: boolean): Promise<AssignmentList | null> {
  const host = await tx.row<{ rev: number }>(
    `SELECT assignment_rev AS rev FROM hosts WHERE id = $1 AND removed_at IS NULL`,
    [hostId],
  );
  if (host === null) return null;
  const placed = await placedRead(tx, hostId, offeredOnly);
  const networks = await networksRead(tx, hostId, offeredOnly, await leaseRevision(tx, host.rev));
  const tombstones = await tx.rows<TombstoneRow & Record<string, unknown>>(
    `SELECT id, instance_id AS "instanceId", epoch, volume_id AS "volumeId",
       EXISTS (SELECT FROM volumes v WHERE v.id = tombstones.volume_id AND v.format = 'ext4') AS mounted FROM tombstones
     WHERE host_id = $1 AND done_at IS NULL ORDER BY created_at, epoch NULLS LAST`,
    [hostId],
  );
  const unusedImages = await unusedRead(tx, hostId);
  const snapshots = await ordersRead(tx, hostId);
  const clones = await clonesRead(tx, hostId);
  return {
    hostId,
    assignmentRev: host.rev,
    storeIncarnation: await incarnationOf(tx),
    assignments: placed.map(toAssignment),
    networks,
    tombstones,
    unusedImages,
    snapshots,
    clones,
  };
}

/**
 * Images that the host holds and that no project has any more, nor any volume there stands on, nor lie in a drive there: the order to remove them. One
 * that is imported again is not in the next list, and what needs it then is fetched where it went meanwhile.
 */
async function unusedRead(tx: Tx, hostId: HostId): Promise<readonly Digest[]> {
  const rows = await tx.rows<{ digest: Digest }>(
    `SELECT x.digest FROM host_images x WHERE x.host_id = $1 AND NOT EXISTS (SELECT FROM images m WHERE m.digest = x.digest)
       AND NOT EXISTS (SELECT FROM volumes v WHERE v.host_id = $1 AND v.base_digest = x.digest)
       AND NOT EXISTS (SELECT FROM placements p WHERE p.host_id = $1 AND p.phase <> 'ended'
         AND p.cdroms @> jsonb_build_array(jsonb_build_object('digest', x.digest))) ORDER BY x.digest LIMIT 1000`,
    [hostId],
  );
  return rows.map((r) => r.digest);
}

/** What a volume that is not made yet begins as, else null. */
const sourceOf = (v: string): string =>
  `CASE WHEN ${v}.source_snapshot_id IS NOT NULL THEN jsonb_build_object('volumeId', ${v}.source_volume_id, 'snapshotId', ${v}.source_snapshot_id) END`;

function placedRead(
  tx: Tx,
  hostId: HostId,
  offeredOnly: boolean,
): Promise<(PlacedRow & Record<string, unknown>)[]> {
  return tx.rows(
    `SELECT p.instance_id, p.epoch, pr.name AS project, i.name, i.uuid, i.generation, i.spec, m.content, i.desired, i.stop_grace_seconds,
       i.deleting_since IS NOT NULL AS deleting, p.run_generation = i.run_generation AS current, v.id AS volume_id, v.size_mib, ${sourceOf('v')} AS source,
       (SELECT jsonb_agg(jsonb_build_object('id', d.id, 'format', d.format, 'sizeMiB', d.size_mib, 'readOnly', coalesce(w."readOnly", false),
          'limits', d.limits, 'path', w.path) || CASE WHEN d.source_snapshot_id IS NULL THEN '{}' ELSE jsonb_build_object('source', ${sourceOf('d')}) END ORDER BY d.id)
        FROM jsonb_to_recordset(i.spec->'volumes') AS w (name text, "readOnly" boolean, path text)
        JOIN volumes d ON d.owner_instance_id = i.id AND d.kind = 'data' AND d.name = w.name AND d.host_id = p.host_id) AS volumes,
       p.sizes,
       (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('id', n.id, 'networkId', n.network_id, 'mac', n.mac, 'ipv4', host(a.address),
          'ipv6', host(a.address6))) ORDER BY n.index)
        FROM nics n JOIN addresses a ON a.nic_id = n.id WHERE n.instance_id = i.id AND n.leaving IS NULL) AS nics,
       (SELECT jsonb_agg(c.drive || jsonb_build_object('image', iso.content) ORDER BY c.n)
        FROM jsonb_array_elements(i.spec->'cdroms') WITH ORDINALITY AS c (drive, n)
        LEFT JOIN images iso ON iso.project_id = i.project_id AND iso.kind = 'iso' AND iso.name = c.drive->>'image') AS cdroms,
       (SELECT jsonb_agg(u.use || jsonb_build_object('id', s.id, 'version', s.resource_version) ORDER BY u.n)
        FROM jsonb_array_elements(i.spec->'secrets') WITH ORDINALITY AS u (use, n)
        JOIN secrets s ON s.project_id = i.project_id AND s.name = u.use->>'name') AS secrets, p.phase, p.run
     FROM placements p JOIN instances i ON i.id = p.instance_id JOIN projects pr ON pr.id = i.project_id
     JOIN images m ON m.id = i.image_id
     JOIN volumes v ON v.owner_instance_id = i.id AND v.kind IN ('rootDisk', 'writableLayer')
     WHERE p.host_id = $1 AND p.phase <> 'ended' AND (NOT $2 OR p.offered_at IS NOT NULL) ORDER BY p.instance_id, p.epoch`,
    [hostId, offeredOnly],
  );
}

/**
 * Networks this host carries, each with the addresses used on it. An instance that has stopped keeps its network here
 * until it is removed, so that its host hears which leases are left; what does not run holds none.
 */
async function networksRead(
  tx: Tx,
  hostId: HostId,
  offeredOnly: boolean,
  revision: number,
): Promise<readonly HostNetworkSpec[]> {
  const rows = await tx.rows<HostNetworkSpec & Record<string, unknown>>(
    `SELECT w.id, pr.name AS project, w.name, w.cidr, host(w.gateway) AS gateway, CASE WHEN w.internal THEN true END AS internal,
       CASE WHEN w.cidr6 IS NOT NULL THEN jsonb_build_object('cidr', w.cidr6, 'gateway', host(w.gateway6)) END AS ipv6,
       coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', i.name, 'mac', n.mac, 'ipv4', host(a.address), 'ipv6', host(a.address6),
         'secondary', CASE WHEN n.index > 0 THEN true END, 'groups', nullif(coalesce(n.leaving, i.spec->'nics'->n.index)->'securityGroups', '[]'),
         'limits', nullif(coalesce(n.leaving, i.spec->'nics'->n.index)->'limits', '{}'))) ORDER BY a.address)
         FILTER (WHERE p.phase <> 'ended'), '[]') AS leases
     FROM placements p JOIN instances i ON i.id = p.instance_id JOIN nics n ON n.instance_id = i.id
     JOIN addresses a ON a.nic_id = n.id JOIN networks w ON w.id = n.network_id JOIN projects pr ON pr.id = w.project_id
     WHERE p.host_id = $1 AND (p.offered_at IS NOT NULL OR (p.phase <> 'ended' AND NOT $2))
     GROUP BY w.id, pr.name ORDER BY w.id`,
    [hostId, offeredOnly],
  );
  const ports = await portsRead(tx, hostId, offeredOnly);
  const groups = await groupsRead(tx, rows);
  return rows.map(({ internal, ipv6, ...r }) => ({
    ...r,
    // Null is not absent.
    ...((ipv6 ?? null) === null ? {} : { ipv6 }),
    ...(internal === true ? { internal } : {}),
    revision,
    ...(ports.has(r.id) ? { ports: ports.get(r.id) } : {}),
    ...(groups.has(r.id) ? { groups: groups.get(r.id) } : {}),
  }));
}

/** What the instances on this host publish, by network. It needs no mention of what stops: its placement ends first. */
async function portsRead(
  tx: Tx,
  hostId: HostId,
  offeredOnly: boolean,
): Promise<ReadonlyMap<string, HostPort[]>> {
  const rows = await tx.rows<Omit<HostPort, 'ipv6'> & { network_id: string; ipv6: string | null }>(
    `SELECT n.network_id, q.protocol, q."hostPort", q."guestPort", host(a.address) AS ipv4, host(a.address6) AS ipv6
     FROM instances i JOIN placements p ON p.instance_id = i.id JOIN nics n ON n.instance_id = i.id JOIN addresses a ON a.nic_id = n.id
     CROSS JOIN LATERAL jsonb_to_recordset(i.spec->'nics'->n.index->'ports') AS q (protocol text, "hostPort" int, "guestPort" int)
     WHERE i.spec @? '$.nics[*].ports[*]' AND p.host_id = $1 AND p.phase <> 'ended' AND (NOT $2 OR p.offered_at IS NOT NULL)
     ORDER BY n.network_id, q.protocol, q."hostPort"`,
    [hostId, offeredOnly],
  );
  const byNetwork = new Map<string, HostPort[]>();
  for (const { network_id, ipv6, ...port } of rows) {
    const one = { ...port, ...(ipv6 === null ? {} : { ipv6 }) };
    byNetwork.set(network_id, [...(byNetwork.get(network_id) ?? []), one]);
  }
  return byNetwork;
}

/**
 * Whatever changes leases, ports or security groups of a host raises the revision of its list. A restored database has an older one, but a
 * younger incarnation: its birth in seconds comes first, so that no host takes the leases it is given then for old ones.
 * 2^20 list changes a second would be needed to catch up with the clock.
 */
async function leaseRevision(tx: Tx, assignmentRev: number): Promise<number> {
  return Math.floor((await incarnationSince(tx)).getTime() / 1000) * 2 ** 20 + assignmentRev;
}

function toAssignment(p: PlacedRow): AssignmentRow {
  const wanted = p.deleting || !p.current ? 'stopped' : p.desired;
  return {
    instanceId: p.instance_id,
    epoch: p.epoch,
    project: p.project,
    name: p.name,
    uuid: p.uuid,
    generation: p.generation,
    spec: p.spec,
    image: p.content,
    wanted,
    stopGraceSeconds: p.stop_grace_seconds,
    rootVolume: { id: p.volume_id, sizeMiB: p.size_mib, ...(p.source === null ? {} : { source: p.source }) },
    volumes: (p.volumes ?? []).flatMap(({ path: _, format, ...disk }) =>
      format === 'ext4' ? [] : [{ ...disk, format }],
    ),
    mounts: (p.volumes ?? []).flatMap(({ format, id, sizeMiB, readOnly, path }) =>
      format === 'ext4' && path !== null ? [{ id, sizeMiB, readOnly, path }] : [],
    ),
    sizes: p.sizes,
    nics: p.nics ?? [],
    cdroms: p.cdroms ?? [],
    secrets: p.secrets ?? [],
    phase: p.phase,
    run: p.run,
  };
}
