import type { ProjectId } from '@berth/model';
import type { Tx } from './db.js';
import { invalidField } from './refusals.js';

/** Id of a pool that a request names at `path`. @throws invalid */
export async function poolNamed(tx: Tx, projectId: ProjectId, name: string, path: string): Promise<string> {
  const pool = await tx.row<{ id: string }>(`SELECT id FROM pools WHERE project_id = $1 AND name = $2`, [
    projectId,
    name,
  ]);
  if (pool === null)
    throw invalidField(
      path,
      `names no pool of the project ("${name}")`,
      'leave it out to use the default pool',
    );
  return pool.id;
}
