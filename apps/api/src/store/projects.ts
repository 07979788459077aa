import type { ImageSources, Network, Project, ProjectId } from '@berth/model';
import { BerthError } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, isDuplicate, mapped } from './db.js';
import { NetworkEntity, ProjectEntity } from './entities.js';
import { eventsWrite } from './events.js';
import { keyAnswer } from './keyed.js';
import { matchVersion, nameTaken, notFound } from './refusals.js';

type ProjectRow = Project & { id: ProjectId };

const toProject = (p: ProjectEntity): ProjectRow => ({
  id: p.id as ProjectId,
  name: p.name,
  imageSources: p.imageSources,
  resourceVersion: p.resourceVersion,
  createdAt: p.createdAt.toISOString(),
});

export async function projectCreate(
  db: Db,
  ctx: RequestContext,
  project: { name: string },
): Promise<ProjectRow> {
  try {
    return await inTx(db, async (tx) => {
      const id = tx.ids.uuid() as ProjectId;
      await tx.changed(`INSERT INTO projects (id, name, created_at, updated_at) VALUES ($1, $2, $3, $3)`, [
        id,
        project.name,
        tx.now,
      ]);
      await defaultNetworkWrite(tx, id);
      await tx.changed(
        `INSERT INTO pools (id, project_id, name, driver, created_at) VALUES ($1, $2, 'default', 'directory', $3)`,
        [tx.ids.uuid(), id, tx.now],
      );
      await eventsWrite(tx, ctx, [
        {
          class: 'audit',
          type: 'project.created',
          projectId: id,
          object: { kind: 'project', id, name: project.name },
        },
      ]);
      const made = await projectOf(tx, id);
      await keyAnswer(tx, ctx, made);
      return made;
    });
  } catch (error) {
    if (isDuplicate(error, 'projects_name_key')) throw nameTaken('project', project.name);
    throw error;
  }
}

const subnetLock = 0x62_65_72_76;

/** The lowest free /24 of the supernet. The lock keeps two creates from choosing the same one. */
async function defaultNetworkWrite(tx: Tx, projectId: ProjectId): Promise<void> {
  await tx.rows('SELECT pg_advisory_xact_lock($1)', [subnetLock]);
  const written = await tx.changed(
    `INSERT INTO networks (id, project_id, name, scope, cidr, gateway, created_at)
     SELECT $1, $2, 'default', 'host', cut.cidr, host(cut.cidr::inet + 1)::inet, $3
     FROM (SELECT set_masklen(network($4::inet)::inet + n * 256, 24)::cidr AS cidr
           FROM generate_series(0, (2 ^ greatest(24 - masklen($4::inet), 0))::bigint - 1) n) cut
     WHERE NOT EXISTS (SELECT FROM networks w WHERE w.cidr && cut.cidr) ORDER BY cut.cidr LIMIT 1`,
    [tx.ids.uuid(), projectId, tx.now, tx.options.networkSupernet],
  );
  if (written === 0)
    throw new BerthError('unavailable', `no subnet is left in ${tx.options.networkSupernet}`, {
      remedy: 'configure a larger network supernet',
    });
}

export async function projectList(db: Db): Promise<readonly ProjectRow[]> {
  const rows = await mapped(() => db.orm.getRepository(ProjectEntity).find({ order: { name: 'ASC' } }));
  return rows.map(toProject);
}

export async function projectGet(db: Db, name: string): Promise<ProjectRow | null> {
  const row = await mapped(() => db.orm.getRepository(ProjectEntity).findOneBy({ name }));
  return row === null ? null : toProject(row);
}

async function projectOf(tx: Tx, id: ProjectId): Promise<ProjectRow> {
  const row = await tx.row<ProjectEntity>(
    `SELECT id, name, image_sources AS "imageSources", resource_version AS "resourceVersion", created_at AS "createdAt"
     FROM projects WHERE id = $1`,
    [id],
  );
  if (row === null) throw new Error(`project ${id} is missing`);
  return toProject(row);
}

export async function projectUpdate(
  db: Db,
  ctx: RequestContext,
  name: string,
  change: { imageSources: Partial<ImageSources>; ifMatch?: number },
): Promise<ProjectRow> {
  return inTx(db, async (tx) => {
    const project = await tx.row<{ id: ProjectId; resource_version: number; image_sources: ImageSources }>(
      `SELECT id, resource_version, image_sources FROM projects WHERE name = $1 FOR UPDATE`,
      [name],
    );
    if (project === null) throw notFound('project', name);
    matchVersion(change.ifMatch, project.resource_version);
    const imageSources = { ...project.image_sources, ...change.imageSources };
    await tx.changed(
      `UPDATE projects SET image_sources = $2, resource_version = resource_version + 1, updated_at = $3 WHERE id = $1`,
      [project.id, JSON.stringify(imageSources), tx.now],
    );
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: 'project.updated',
        projectId: project.id,
        object: { kind: 'project', id: project.id, name },
        data: { imageSources },
      },
    ]);
    return projectOf(tx, project.id);
  });
}

export async function networkList(db: Db, projectId: ProjectId): Promise<readonly Network[]> {
  return networksWhere(db, { projectId });
}

export async function networkGet(db: Db, projectId: ProjectId, name: string): Promise<Network | null> {
  return (await networksWhere(db, { projectId, name }))[0] ?? null;
}

async function networksWhere(db: Db, where: { projectId: string; name?: string }): Promise<Network[]> {
  return mapped(async () => {
    const project = await db.orm.getRepository(ProjectEntity).findOneBy({ id: where.projectId });
    if (project === null) return [];
    const rows = await db.orm.getRepository(NetworkEntity).find({ where, order: { name: 'ASC' } });
    return rows.map((n) => ({
      id: n.id as Network['id'],
      project: project.name,
      name: n.name,
      scope: n.scope,
      cidr: n.cidr,
      gateway: n.gateway,
      resourceVersion: n.resourceVersion,
      createdAt: n.createdAt.toISOString(),
    }));
  });
}
