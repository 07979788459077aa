import {
  dependencyCycle,
  probeOfCondition,
  sameValue,
  waitingFor,
  type DependencySeen,
  type InstanceId,
  type InstanceSpec,
  type ProbesSpec,
  type ProjectId,
  type Waiting,
} from '@berth/model';
import type { Db, Tx } from './db.js';
import { read } from './db.js';
import { invalidField } from './refusals.js';

/*
 * Which instance starts after which. A start waits with the scheduler until its dependencies are as it asks; a run that goes on is
 * not touched by what becomes of them.
 */

/** What the dependencies of a list are now, as DependencySeen; null for none. @param project @param list SQL expressions */
export const dependenciesSeen = (project: string, list: string): string => `
  (SELECT jsonb_agg(jsonb_build_object('instance', d.instance, 'condition', d.condition, 'state', b.state,
      'conditions', coalesce((SELECT jsonb_agg(c->>'type') FROM jsonb_array_elements(b.conditions) c), '[]'),
      'exit', p.exit, 'probes', coalesce((SELECT jsonb_agg(k) FROM jsonb_object_keys(b.spec->'probes') k), '[]')) ORDER BY d.at)
   FROM ROWS FROM (jsonb_to_recordset(${list}) AS (instance text, condition text)) WITH ORDINALITY d (instance, condition, at)
   LEFT JOIN instances b ON b.project_id = ${project} AND b.name = d.instance AND b.deleting_since IS NULL
   LEFT JOIN placements p ON p.instance_id = b.id AND p.epoch = b.owner_epoch)`;

/** Of a column of such. */
export const waitingOf = (seen: DependencySeen[] | null): Waiting | null => waitingFor(seen ?? []);

/** What a start of the instance would wait for now. */
export async function instanceWaits(db: Db, id: InstanceId): Promise<Waiting | null> {
  const [row] = await read<{ seen: DependencySeen[] | null }>(
    db,
    `SELECT ${dependenciesSeen('i.project_id', `i.spec->'dependsOn'`)} AS seen FROM instances i WHERE i.id = $1`,
    [id],
  );
  return waitingOf(row?.seen ?? null);
}

/** What the first start of such an instance would wait for now. */
export async function specWaits(tx: Tx, projectId: ProjectId, spec: InstanceSpec): Promise<Waiting | null> {
  const row = await tx.row<{ seen: DependencySeen[] | null }>(
    `SELECT ${dependenciesSeen('$1', '$2::jsonb')} AS seen`,
    [projectId, JSON.stringify(spec.dependsOn ?? [])],
  );
  return waitingOf(row?.seen ?? null);
}

interface Depending {
  readonly projectId: ProjectId;
  readonly name: string;
  readonly spec: InstanceSpec;
  /** As it was before; absent for a new instance. */
  readonly was?: InstanceSpec;
}

/**
 * Refuses what a start could never have: who is not there, a condition that nothing tells, a circle. One request of a project
 * at a time: two that are each right can make a circle together. @throws invalid
 */
export async function dependenciesHold(tx: Tx, { projectId, name, spec, was }: Depending): Promise<void> {
  const wanted = spec.dependsOn ?? [];
  if (wanted.length === 0 || sameValue(wanted, was?.dependsOn)) return;
  await tx.rows(`SELECT pg_advisory_xact_lock(hashtextextended('dependsOn' || $1, 0))`, [projectId]);
  const names = wanted.map((d) => d.instance);
  const rows = await tx.rows<{ name: string; depends_on: { instance: string }[]; probes: ProbesSpec }>(
    `SELECT name, coalesce(spec->'dependsOn', '[]') AS depends_on, coalesce(spec->'probes', '{}') AS probes
     FROM instances WHERE project_id = $1 AND deleting_since IS NULL AND name <> $2 AND (spec ? 'dependsOn' OR name = ANY ($3))`,
    [projectId, name, names],
  );
  const edges = new Map(rows.map((r) => [r.name, r.depends_on.map((d) => d.instance)]));
  const circle = dependencyCycle(name, names, edges);
  if (circle !== null)
    throw invalidField(
      '/spec/dependsOn',
      `makes a circle, in which none could start: ${circle.join(' → ')}`,
      'take one of them out of the dependsOn of the one before it',
    );
  for (const [i, { instance, condition }] of wanted.entries()) {
    const there = rows.find((r) => r.name === instance);
    if (there === undefined)
      throw invalidField(
        `/spec/dependsOn/${i}/instance`,
        `names no instance of the project ("${instance}")`,
        'create that one first',
      );
    const probe = probeOfCondition(condition);
    if (probe !== null && there.probes[probe] === undefined)
      throw invalidField(
        `/spec/dependsOn/${i}/condition`,
        `is told by no probe: "${instance}" has no probes.${probe}`,
        `give ${instance} one, or ask for running`,
      );
  }
}

/** Whether a start waits for an instance, which just changed. */
export async function isAwaited(
  tx: Tx,
  { projectId, name }: { projectId: ProjectId; name: string },
): Promise<boolean> {
  const row = await tx.row(
    `SELECT 1 FROM instances WHERE project_id = $1 AND state = 'pending'
       AND spec->'dependsOn' @> jsonb_build_array(jsonb_build_object('instance', $2::text)) LIMIT 1`,
    [projectId, name],
  );
  return row !== null;
}
