import type { HostId, InstanceSpec, ProjectId } from '@berth/model';
import { BerthError, fieldChanges, sameValue } from '@berth/model';
import type { Tx } from './db.js';
import type { Locked } from './instance-change.js';
import { hostAble } from './live-nics.js';
import { invalidField } from './refusals.js';

/*
 * What is in the CD-ROM drives of an instance. A spec names images, which cannot be deleted as long as one does; what a host says is in
 * a drive stays on that host (assignments.ts), whatever is asked for by then.
 */

/** Holds the images that drives of a spec name, for the length of the transaction. @throws invalid */
export async function mediaHold(
  tx: Tx,
  projectId: ProjectId,
  { cdroms = [] }: Pick<InstanceSpec, 'cdroms'>,
): Promise<void> {
  const names = cdroms.flatMap(({ image }) => image ?? []);
  if (names.length === 0) return;
  const found = await tx.rows<{ name: string; kind: string }>(
    `SELECT name, kind FROM images WHERE project_id = $1 AND name = ANY ($2) ORDER BY id FOR KEY SHARE`,
    [projectId, names],
  );
  cdroms.forEach(({ image }, drive) => {
    if (image === undefined) return;
    const path = `/spec/cdroms/${drive}/image`;
    const kind = found.find(({ name }) => name === image)?.kind;
    if (kind === undefined)
      throw invalidField(
        path,
        `names no image of the project ("${image}")`,
        'import it first, as kind iso, or use a name from the image list',
      );
    if (kind !== 'iso')
      throw invalidField(
        path,
        `is of kind ${kind}, and a drive takes iso`,
        'import an ISO 9660 or UDF image, as kind iso',
      );
  });
}

/** Media come to a machine's drives and leave them also while it runs. @param host that has it, or null @throws stateConflict, unsupported, invalid */
export async function cdromsJoin(tx: Tx, i: Locked, spec: InstanceSpec, host: HostId | null): Promise<void> {
  await mediaHold(tx, i.project_id, spec);
  if (host === null || sameValue(spec.cdroms ?? [], i.spec.cdroms ?? [])) return;
  if (i.desired === 'suspended' || i.power === 'suspended')
    throw cdromsRefused(i, spec, {
      code: 'stateConflict',
      message: `instance "${i.name}" is suspended, or about to be, and comes back with what was in its drives`,
      remedy: 'resume it first; or stop it, which discards its memory',
    });
  const { name, able } = await hostAble(tx, host, 'cdroms');
  if (!able)
    throw cdromsRefused(i, spec, {
      code: 'unsupported',
      message: `host ${name} gives no machine a CD-ROM drive`,
      remedy: 'bring its agent to the version of this API',
    });
}

/** A refusal that names each field of drives that differs. */
function cdromsRefused(
  i: Locked,
  spec: InstanceSpec,
  refusal: {
    readonly code: 'stateConflict' | 'unsupported';
    readonly message: string;
    readonly remedy: string;
  },
): BerthError {
  const { code, message, remedy } = refusal;
  const errors = fieldChanges({ spec: i.spec, labels: {} }, { spec, labels: {} })
    .filter(({ path }) => path.startsWith('/spec/cdroms'))
    .map(({ path }) => ({ path, code, message: 'cannot change now', remedy }));
  return new BerthError(code, message, { remedy, errors });
}
