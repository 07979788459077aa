import type { Capabilities, HostId, InstanceSpec } from '@berth/model';
import { BerthError, portRefusal, portsOf, portText } from '@berth/model';
import { capacityLock } from './capacity.js';
import type { Tx } from './db.js';
import { portsTakenSql } from './ports-taken.js';

/*
 * A port of a host belongs to the instance whose spec names it, from its placement there until that has ended. It is
 * booked like room: looked at under the host's capacity lock, and written with the placement or the spec.
 */

/** Why the host cannot publish a port of the spec now; null where it can all. Call it with the host's capacity locked. */
export async function portsLook(
  tx: Tx,
  hostId: HostId,
  instance: { readonly id: string; readonly spec: InstanceSpec },
): Promise<{ readonly path: string; readonly message: string } | null> {
  const ports = portsOf(instance.spec);
  if (ports.length === 0) return null;
  const host = await tx.row<{ capabilities: Capabilities | null }>(
    `SELECT capabilities FROM hosts WHERE id = $1`,
    [hostId],
  );
  const others = await tx.rows<{ port: string }>(`${portsTakenSql} AND p.host_id = $1 AND i.id <> $2`, [
    hostId,
    instance.id,
  ]);
  const offer = host?.capabilities?.publishedPorts;
  const seen = { offer, taken: new Set(others.map((o) => o.port)) };
  for (const port of ports) {
    const no = portRefusal(port, seen);
    if (no !== null)
      return {
        path: `/spec/${port.path.join('/')}/hostPort`,
        message: `${portText(port)}: ${no.message}`,
      };
  }
  return null;
}

/** Books what a changed spec publishes on the host that has the instance. @throws conflict */
export async function portsBook(
  tx: Tx,
  hostId: HostId,
  instance: { readonly id: string; readonly spec: InstanceSpec },
): Promise<void> {
  if (portsOf(instance.spec).length === 0) return;
  await capacityLock(tx, hostId);
  const no = await portsLook(tx, hostId, instance);
  if (no === null) return;
  const remedy = 'publish another port of the host, or stop the instance and start it where the port is free';
  throw new BerthError('conflict', `its host cannot publish ${no.message}`, {
    remedy,
    errors: [{ path: no.path, code: 'conflict', message: `cannot be published: ${no.message}`, remedy }],
  });
}
