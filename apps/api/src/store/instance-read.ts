import type { Instance, InstanceId, InstanceSpec, NicStatus, ProjectId, VolumeId } from '@berth/model';
import { volumeSerial } from '@berth/model';
import type { Db, Tx } from './db.js';
import { read } from './db.js';
import { cursorRead, limitOf, pageOf } from './paging.js';
import type { InstanceCount, InstanceFilter, Page, RevisionRow } from './rows.js';

interface InstanceRow {
  id: string;
  project: string;
  name: string;
  labels: Record<string, string>;
  uuid: string;
  generation: number;
  run_generation: number;
  resource_version: number;
  spec: InstanceSpec;
  image_digest: string;
  state: Instance['status']['state'];
  operation_id: string | null;
  deadline: Date | null;
  reason: string | null;
  conditions: Instance['status']['conditions'];
  snapshots_failure: Instance['status']['conditions'][number] | null;
  decision_id: string | null;
  created_at: Date;
  updated_at: Date;
  deleting_since: Date | null;
  host_id: string | null;
  host_name: string | null;
  epoch: number | null;
  run: number | null;
  phase: Instance['status']['phase'];
  power: Instance['status']['power'];
  driver: string | null;
  exit: Instance['status']['lastExit'];
  observed_at: Date | null;
  nics: NicStatus[] | null;
  root_volume_id: string | null;
  applied_generation: number | null;
  cdroms: Instance['status']['cdroms'] | null;
  /** A bigint, which comes as text. */
  vsock_cid: string | null;
  numa_host_nodes: number[] | null;
  uid_range: Instance['status']['uidRange'];
  volumes: { id: VolumeId; name: string; attached: boolean }[] | null;
}

const from = `
  SELECT i.*, pr.name AS project, p.epoch, p.run, p.phase, p.power, p.driver, p.exit, p.observed_at, h.id AS host_id, h.name AS host_name,
    v.id AS root_volume_id, n.nics, p.applied_generation, d.volumes, e.cdroms,
    CASE WHEN p.phase <> 'ended' THEN p.vsock_cid END AS vsock_cid, CASE WHEN p.phase <> 'ended' THEN p.numa_host_nodes END AS numa_host_nodes, p.uid_range
  FROM instances i
  JOIN projects pr ON pr.id = i.project_id
  LEFT JOIN placements p ON p.instance_id = i.id AND p.epoch = i.owner_epoch
  LEFT JOIN hosts h ON h.id = p.host_id
  LEFT JOIN volumes v ON v.owner_instance_id = i.id AND v.kind IN ('rootDisk', 'writableLayer')
  LEFT JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_object('id', c.id, 'networkId', c.network_id, 'network', w.name, 'mac', c.mac,
      'ipv4', host(a.address), 'ports', CASE WHEN p.phase <> 'ended' THEN coalesce(i.spec->'nics'->c.index->'ports', '[]') ELSE '[]' END)
      || CASE WHEN a.address6 IS NULL THEN '{}' ELSE jsonb_build_object('ipv6', host(a.address6)) END
      || CASE WHEN c.leaving IS NULL THEN '{}' ELSE '{"leaving": true}' END::jsonb ORDER BY c.index) AS nics
    FROM nics c JOIN networks w ON w.id = c.network_id JOIN addresses a ON a.nic_id = c.id WHERE c.instance_id = i.id
  ) n ON true
  LEFT JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_object('id', d.id, 'name', d.name,
      'attached', p.phase IS NOT NULL AND p.phase <> 'ended' AND p.volumes @> to_jsonb(d.id::text)) ORDER BY d.name) AS volumes
    FROM volumes d WHERE d.owner_instance_id = i.id AND d.kind = 'data'
  ) d ON true
  LEFT JOIN LATERAL (
    SELECT jsonb_agg(s.drive || jsonb_build_object('image', (SELECT m.name FROM images m
      WHERE m.project_id = i.project_id AND m.digest = s.drive->>'digest'
      ORDER BY m.name = i.spec->'cdroms'->(s.n::int - 1)->>'image' DESC NULLS LAST, m.name LIMIT 1)) ORDER BY s.n) AS cdroms
    FROM jsonb_array_elements(CASE WHEN p.phase <> 'ended' THEN p.cdroms END) WITH ORDINALITY AS s (drive, n)
  ) e ON true`;

function toInstance(r: InstanceRow): Instance {
  return {
    id: r.id as InstanceId,
    project: r.project,
    name: r.name,
    labels: r.labels,
    uuid: r.uuid,
    generation: r.generation,
    runGeneration: r.run_generation,
    resourceVersion: r.resource_version,
    spec: r.spec,
    imageDigest: r.image_digest,
    status: {
      state: r.state,
      operationId: r.operation_id as Instance['status']['operationId'],
      deadline: r.deadline?.toISOString() ?? null,
      reason: r.reason,
      host: r.host_id === null || r.host_name === null ? null : { id: r.host_id as never, name: r.host_name },
      epoch: r.epoch,
      run: r.run,
      phase: r.phase,
      power: r.power,
      driver: r.driver,
      lastExit: r.exit,
      conditions: [
        ...r.conditions,
        ...(r.snapshots_failure === null || r.spec.snapshots === undefined ? [] : [r.snapshots_failure]),
      ],
      nics: r.nics ?? [],
      cdroms: r.cdroms ?? [],
      numaHostNodes: r.numa_host_nodes,
      uidRange: r.uid_range,
      vsockCid: r.vsock_cid === null ? null : Number(r.vsock_cid),
      volumes: (r.volumes ?? []).map((v) => ({ ...v, serial: volumeSerial(v.id) })),
      appliedGeneration: r.applied_generation,
      rootVolumeId: r.root_volume_id as Instance['status']['rootVolumeId'],
      decisionId: r.decision_id as Instance['status']['decisionId'],
      observedAt: r.observed_at?.toISOString() ?? null,
    },
    createdAt: r.created_at.toISOString(),
    updatedAt: r.updated_at.toISOString(),
    deletingSince: r.deleting_since?.toISOString() ?? null,
  };
}

/** As the open transaction sees it. @throws when the id is unknown: the caller just wrote it. */
export async function instanceOf(tx: Tx, id: string): Promise<Instance> {
  const row = await tx.row<InstanceRow>(`${from} WHERE i.id = $1`, [id]);
  if (row === null) throw new Error(`instance ${id} is missing`);
  return toInstance(row);
}

export async function instanceGet(db: Db, projectId: ProjectId, name: string): Promise<Instance | null> {
  const [row] = await read<InstanceRow>(db, `${from} WHERE i.project_id = $1 AND i.name = $2`, [
    projectId,
    name,
  ]);
  return row === undefined ? null : toInstance(row);
}

export async function instanceById(db: Db, id: InstanceId): Promise<Instance | null> {
  const [row] = await read<InstanceRow>(db, `${from} WHERE i.id = $1`, [id]);
  return row === undefined ? null : toInstance(row);
}

/** Ordered by project name, then name. */
export async function instanceList(db: Db, filter: InstanceFilter): Promise<Page<Instance>> {
  const limit = limitOf(filter);
  const after = cursorRead(filter, 2);
  const rows = await read<InstanceRow>(
    db,
    `${from} WHERE ($1::uuid IS NULL OR i.project_id = $1) AND i.labels @> $2 AND ($3::text IS NULL OR i.state = $3)
       AND ($4::text IS NULL OR h.name = $4) AND ($5::text IS NULL OR i.isolation = $5)
       AND ($6::text IS NULL OR (pr.name, i.name) > ($6, $7)) AND strpos(i.name, $9) > 0
     ORDER BY pr.name, i.name LIMIT $8`,
    [
      filter.projectId,
      JSON.stringify(filter.labels ?? {}),
      filter.state ?? null,
      filter.host ?? null,
      filter.isolation ?? null,
      after?.[0] ?? null,
      after?.[1] ?? null,
      limit + 1,
      filter.search ?? '',
    ],
  );
  return pageOf(rows, limit, (r) => [r.project, r.name], toInstance);
}

/** How many instances a project has, by state and isolation. */
export async function instanceCounts(db: Db, projectId: ProjectId): Promise<readonly InstanceCount[]> {
  return read<InstanceCount & Record<string, unknown>>(
    db,
    `SELECT state, isolation, count(*) AS count FROM instances WHERE project_id = $1
     GROUP BY state, isolation ORDER BY state, isolation`,
    [projectId],
  );
}

export async function instanceRevisions(db: Db, id: InstanceId): Promise<readonly RevisionRow[]> {
  return read<RevisionRow & Record<string, unknown>>(
    db,
    `SELECT generation, spec, labels, actor, at FROM instance_revisions WHERE instance_id = $1 ORDER BY generation DESC`,
    [id],
  );
}
