import type {
  HostId,
  HostSecurityGroup,
  ProjectId,
  SecurityGroup,
  SecurityGroupId,
  SecurityRule,
} from '@berth/model';
import { BerthError } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, read } from './db.js';
import { eventsWrite } from './events.js';
import { assignmentsRaise } from './instance-change.js';
import { groupsHold } from './nic-groups.js';
import { matchVersion, notFound } from './refusals.js';

interface Row {
  id: SecurityGroupId;
  project: string;
  name: string;
  rules: SecurityRule[];
  resource_version: number;
  created_at: Date;
}

const from = `SELECT g.*, p.name AS project FROM security_groups g JOIN projects p ON p.id = g.project_id`;

const toGroup = (g: Row): SecurityGroup => ({
  id: g.id,
  project: g.project,
  name: g.name,
  rules: g.rules,
  resourceVersion: g.resource_version,
  createdAt: g.created_at.toISOString(),
});
type Read = Row & Record<string, unknown>;

export async function securityGroupList(db: Db, projectId: ProjectId): Promise<readonly SecurityGroup[]> {
  return (await read<Read>(db, `${from} WHERE g.project_id = $1 ORDER BY g.name`, [projectId])).map(toGroup);
}

export async function securityGroupGet(
  db: Db,
  projectId: ProjectId,
  name: string,
): Promise<SecurityGroup | null> {
  const [row] = await read<Read>(db, `${from} WHERE g.project_id = $1 AND g.name = $2`, [projectId, name]);
  return row === undefined ? null : toGroup(row);
}

interface Target {
  readonly projectId: ProjectId;
  readonly name: string;
  readonly ifMatch?: number;
}

function locked(
  tx: Tx,
  projectId: ProjectId,
  name: string,
): Promise<{ id: string; resource_version: number } | null> {
  return tx.row(
    `SELECT id, resource_version FROM security_groups WHERE project_id = $1 AND name = $2 FOR UPDATE`,
    [projectId, name],
  );
}

/** @see SecurityGroupStore.securityGroupPut */
export async function securityGroupPut(
  db: Db,
  ctx: RequestContext,
  { projectId, name, ifMatch, rules }: Target & { readonly rules: readonly SecurityRule[] },
): Promise<{ group: SecurityGroup; hosts: readonly HostId[] }> {
  return inTx(db, async (tx) => {
    const known = await locked(tx, projectId, name);
    if (known === null && ifMatch !== undefined) throw notFound('security group', name);
    if (known !== null) matchVersion(ifMatch, known.resource_version);
    const named = rules.flatMap((r, i) =>
      r.group === undefined || r.group === name ? [] : [{ name: r.group, i }],
    );
    await groupsHold(
      tx,
      projectId,
      named.map((n) => ({ name: n.name, path: `/rules/${n.i}/group` })),
    );
    const written = await tx.row<{ id: string; made: boolean }>(
      `INSERT INTO security_groups (id, project_id, name, rules, created_at) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT (project_id, name) DO UPDATE SET rules = $4, resource_version = security_groups.resource_version + 1
       RETURNING id, resource_version = 1 AS made`,
      [tx.ids.uuid(), projectId, name, JSON.stringify(rules), tx.now],
    );
    const { id, made } = written ?? { id: '', made: false };
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: made ? 'securityGroup.created' : 'securityGroup.updated',
        projectId,
        object: { kind: 'securityGroup', id, name },
        data: { rules },
      },
    ]);
    const hosts = await hostsWith(tx, projectId, name);
    await assignmentsRaise(tx, hosts);
    const group = await tx.row<Read>(`${from} WHERE g.id = $1`, [id]);
    if (group === null) throw new Error(`security group ${id} is missing`);
    return { group: toGroup(group), hosts };
  });
}

/** @see SecurityGroupStore.securityGroupDelete */
export async function securityGroupDelete(
  db: Db,
  ctx: RequestContext,
  { projectId, name, ifMatch }: Target,
): Promise<void> {
  await inTx(db, async (tx) => {
    const known = await locked(tx, projectId, name);
    if (known === null) throw notFound('security group', name);
    matchVersion(ifMatch, known.resource_version);
    // Statements of their own: they see what named the group before we had its lock.
    const users = await tx.rows<{ name: string }>(
      `SELECT name FROM instances WHERE project_id = $1 AND spec->'nics' @> $2 ORDER BY name LIMIT 5`,
      [projectId, JSON.stringify([{ securityGroups: [name] }])],
    );
    const groups = await tx.rows<{ name: string }>(
      `SELECT name FROM security_groups WHERE project_id = $1 AND name <> $2 AND rules @> $3 ORDER BY name LIMIT 5`,
      [projectId, name, JSON.stringify([{ group: name }])],
    );
    const by = [
      ...users.map((u) => `instance "${u.name}"`),
      ...groups.map((g) => `security group "${g.name}"`),
    ];
    if (by.length > 0)
      throw new BerthError('inUse', `security group "${name}" is named by ${by.join(', ')}`, {
        remedy: 'take it out of their nics and rules first',
      });
    await tx.changed(`DELETE FROM security_groups WHERE id = $1`, [known.id]);
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: 'securityGroup.deleted',
        projectId,
        object: { kind: 'securityGroup', id: known.id, name },
      },
    ]);
  });
}

/** Hosts that have instances in the group. */
async function hostsWith(tx: Tx, projectId: ProjectId, name: string): Promise<readonly HostId[]> {
  const rows = await tx.rows<{ host_id: HostId }>(
    `SELECT DISTINCT p.host_id FROM placements p JOIN instances i ON i.id = p.instance_id
     WHERE i.project_id = $1 AND i.spec->'nics' @> $2 AND p.phase <> 'ended'`,
    [projectId, JSON.stringify([{ securityGroups: [name] }])],
  );
  return rows.map((r) => r.host_id);
}

/** What a host is told of groups: those that leases of a project's networks name. */
export async function groupsRead(
  tx: Tx,
  networks: readonly {
    readonly id: string;
    readonly leases: readonly { readonly groups?: readonly string[] | undefined }[];
  }[],
): Promise<ReadonlyMap<string, HostSecurityGroup[]>> {
  const wanted = networks.flatMap(({ id, leases }) =>
    [...new Set(leases.flatMap((l) => l.groups ?? []))].map((name) => ({ id, name })),
  );
  const byNetwork = new Map<string, HostSecurityGroup[]>();
  if (wanted.length === 0) return byNetwork;
  const rows = await tx.rows<{ id: string } & HostSecurityGroup>(
    `SELECT w.id, g.name, g.rules FROM jsonb_to_recordset($1) AS q (id uuid, name text)
     JOIN networks w ON w.id = q.id JOIN security_groups g ON g.project_id = w.project_id AND g.name = q.name
     ORDER BY w.id, g.name`,
    [JSON.stringify(wanted)],
  );
  for (const { id, name, rules } of rows) byNetwork.set(id, [...(byNetwork.get(id) ?? []), { name, rules }]);
  return byNetwork;
}
