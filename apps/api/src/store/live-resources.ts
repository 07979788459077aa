import type { Capabilities, HostId, InstanceSpec } from '@berth/model';
import { BerthError, resourcesRefusal, sameValue } from '@berth/model';
import type { Tx } from './db.js';
import type { Locked } from './instance-change.js';

/** Bounds of a container are changed where its disk is, while it runs or at its next start. @throws unsupported */
export async function resourcesJoin(tx: Tx, i: Locked, spec: InstanceSpec): Promise<void> {
  if (spec.resources === undefined || sameValue(spec.resources, i.spec.resources)) return;
  const host = await tx.row<{ id: HostId; name: string; capabilities: Capabilities | null }>(
    `SELECT h.id, h.name, h.capabilities FROM hosts h JOIN volumes v ON v.host_id = h.id
     WHERE v.owner_instance_id = $1 AND v.kind = 'writableLayer'`,
    [i.id],
  );
  if (host === null || host.capabilities === null) return;
  const no = resourcesRefusal(spec, host.capabilities);
  if (no === null) return;
  const path = `/spec/${no.field.replaceAll('.', '/')}`;
  const message = `host ${host.name}, where its disk is, cannot give it ${no.need}: ${no.message}`;
  throw new BerthError('unsupported', message, {
    remedy: no.remedy,
    errors: [{ path, code: 'unsupported', message: no.message, remedy: no.remedy }],
  });
}
