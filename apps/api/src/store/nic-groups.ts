import type { InstanceSpec, ProjectId } from '@berth/model';
import type { Tx } from './db.js';
import { invalidField } from './refusals.js';

/** Groups that nics of a spec name: they stay until the transaction is over. @throws invalid */
export async function nicGroupsHold(
  tx: Tx,
  projectId: ProjectId,
  spec: Pick<InstanceSpec, 'nics'>,
): Promise<void> {
  const named = spec.nics.flatMap((nic, n) =>
    (nic.securityGroups ?? []).map((name, i) => ({ name, path: `/spec/nics/${n}/securityGroups/${i}` })),
  );
  await groupsHold(tx, projectId, named);
}

/** Holds groups by their names, for the length of the transaction. @throws invalid */
export async function groupsHold(
  tx: Tx,
  projectId: ProjectId,
  named: readonly { readonly name: string; readonly path: string }[],
): Promise<void> {
  if (named.length === 0) return;
  const found = await tx.rows<{ name: string }>(
    `SELECT name FROM security_groups WHERE project_id = $1 AND name = ANY ($2) ORDER BY id FOR KEY SHARE`,
    [projectId, named.map((n) => n.name)],
  );
  const missing = named.find((n) => !found.some((f) => f.name === n.name));
  if (missing !== undefined)
    throw invalidField(
      missing.path,
      `names no security group of the project ("${missing.name}")`,
      'make it first: PUT …/securityGroups/{name}, or berth security-group put',
    );
}
