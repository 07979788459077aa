import type { HostId, InstanceSpec } from '@berth/model';
import { BerthError, fieldChanges, nicsPath, sameValue } from '@berth/model';
import type { Tx } from './db.js';
import type { Locked } from './instance-change.js';
import { ipv6Among, nicsChange } from './ipam.js';

/**
 * Nics come, go and change places while no host has the instance, and to a VM and from it also while it runs.
 * @param isLive whether a host has it @throws stateConflict, unsupported, invalid, unavailable
 */
export async function nicsJoin(tx: Tx, i: Locked, spec: InstanceSpec, isLive: boolean): Promise<void> {
  const places = ({ nics }: InstanceSpec): object[] =>
    nics.map(({ network, address, address6 }) => ({ network, address, address6 }));
  if (sameValue(places(spec), places(i.spec))) return;
  if (isLive && spec.isolation !== 'vm')
    throw nicsRefused(i, spec, {
      message: `instance "${i.name}" keeps its nics and their addresses while it is on a host`,
      remedy: 'stop it, change the networks and addresses of its nics, and start it again',
    });
  if (isLive && (i.desired === 'suspended' || i.power === 'suspended'))
    throw nicsRefused(i, spec, {
      message: `instance "${i.name}" is suspended, or about to be, and comes back with the nics that it had`,
      remedy: 'resume it first; or stop it, which discards its memory',
    });
  if (isLive) {
    const host = await hostAble(tx, i.host_id, 'nics');
    if (!host.able)
      throw nicsRefused(i, spec, {
        code: 'unsupported',
        message: `host ${host.name} changes no nics of a machine that runs`,
        remedy: 'bring its agent to the version of this API; or stop the instance first',
      });
    await ipv6Able(tx, i, spec);
  }
  await nicsChange(tx, { id: i.id, projectId: i.project_id, nics: spec.nics }, isLive ? i.spec.nics : null);
}

/** Whether its host carries the IPv6 of what its nics are to be on. @throws unsupported */
async function ipv6Able(tx: Tx, i: Locked, spec: InstanceSpec): Promise<void> {
  if (!(await ipv6Among(tx, i.project_id, spec))) return;
  const host = await hostAble(tx, i.host_id, 'ipv6');
  if (host.able) return;
  throw nicsRefused(i, spec, {
    code: 'unsupported',
    message: `host ${host.name} carries no IPv6, which a network of these has`,
    remedy: 'run berth doctor on it, which says why; or use networks without ipv6Cidr',
  });
}

/** A refusal that names each field of nics that differs. */
function nicsRefused(
  i: Locked,
  spec: InstanceSpec,
  { code = 'stateConflict', message, remedy }: NicsRefusal,
): BerthError {
  const errors = fieldChanges({ spec: i.spec, labels: {} }, { spec, labels: {} })
    .filter(({ path }) => nicsPath.test(path))
    .map(({ path }) => ({
      path,
      code,
      message: 'keeps its value while it is on a host',
      remedy,
    }));
  return new BerthError(code, message, { remedy, errors });
}

interface NicsRefusal {
  readonly code?: 'stateConflict' | 'unsupported';
  readonly message: string;
  readonly remedy: string;
}

/** Whether a host says that it has a facet. */
export async function hostAble(
  tx: Tx,
  hostId: HostId | null,
  facet: string,
): Promise<{ readonly name: string; readonly able: boolean }> {
  const host = await tx.row<{ name: string; able: boolean }>(
    `SELECT name, coalesce(capabilities->'facets' ? $2, false) AS able FROM hosts WHERE id = $1`,
    [hostId, facet],
  );
  if (host === null) throw new Error(`host ${hostId} is missing`);
  return host;
}

/**
 * Nics that nobody has any more go, and their addresses are free. Call it with the instance locked, after what may have ended
 * their use. Says whether any did.
 */
export async function nicsRelease(tx: Tx, instanceId: string): Promise<boolean> {
  const gone = await tx.rows<{ id: string }>(
    `SELECT n.id FROM nics n JOIN instances i ON i.id = n.instance_id WHERE i.id = $1 AND n.leaving IS NOT NULL
       AND NOT EXISTS (SELECT FROM placements p WHERE p.instance_id = i.id AND p.phase <> 'ended'
         AND (p.applied_generation IS NULL OR p.applied_generation < i.generation OR p.nics IS NULL OR p.nics @> to_jsonb(n.id::text)))`,
    [instanceId],
  );
  const ids = gone.map(({ id }) => id);
  await tx.changed(`DELETE FROM addresses WHERE nic_id = ANY ($1)`, [ids]);
  await tx.changed(`DELETE FROM nics WHERE id = ANY ($1)`, [ids]);
  return ids.length > 0;
}

/**
 * What is suspended comes back with every nic that its guest has, and one that is to go may have lost its network by then.
 * @throws stateConflict
 */
export async function refuseLeaving(
  tx: Tx,
  instance: { readonly id: string; readonly name: string },
): Promise<void> {
  const leaving = await tx.row<{ network: string }>(
    `SELECT w.name AS network FROM nics n JOIN networks w ON w.id = n.network_id
     WHERE n.instance_id = $1 AND n.leaving IS NOT NULL ORDER BY n.index LIMIT 1`,
    [instance.id],
  );
  if (leaving === null) return;
  const message = `the guest of "${instance.name}" has not let go of its nic on network "${leaving.network}"`;
  throw new BerthError('stateConflict', message, { remedy: 'wait until it has, or stop the instance' });
}
