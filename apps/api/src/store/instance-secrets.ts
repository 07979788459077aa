import type { InstanceSpec, ProjectId } from '@berth/model';
import type { Tx } from './db.js';
import { invalidField } from './refusals.js';

/** Secrets that a spec names stay until the transaction is over. @throws invalid */
export async function secretsHold(
  tx: Tx,
  projectId: ProjectId,
  { secrets = [] }: Pick<InstanceSpec, 'secrets'>,
): Promise<void> {
  if (secrets.length === 0) return;
  const found = await tx.rows<{ name: string; is_text: boolean }>(
    `SELECT name, is_text FROM secrets WHERE project_id = $1 AND name = ANY ($2) ORDER BY id FOR SHARE`,
    [projectId, secrets.map(({ name }) => name)],
  );
  secrets.forEach(({ name, env }, i) => {
    const secret = found.find((one) => one.name === name);
    if (secret === undefined)
      throw invalidField(
        `/spec/secrets/${i}/name`,
        `names no secret of the project ("${name}")`,
        'make it first: PUT …/secrets/{name}, or berth secret set',
      );
    if (env !== undefined && !secret.is_text)
      throw invalidField(
        `/spec/secrets/${i}/env`,
        `is for a text without NUL, and secret "${name}" holds other bytes`,
        'have it as a file: leave env out',
      );
  });
}
