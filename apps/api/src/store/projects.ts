import type { ImageSources, Project, ProjectId } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, isDuplicate, mapped } from './db.js';
import { ProjectEntity } from './entities.js';
import { eventsWrite } from './events.js';
import { keyAnswer } from './keyed.js';
import { networkWrite } from './networks.js';
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
      await networkWrite(tx, { projectId: id, name: 'default' });
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
