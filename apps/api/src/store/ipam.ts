import { BerthError, guestAddresses, ipv4Number } from '@berth/model';
import type { Tx } from './db.js';
import { invalidField } from './refusals.js';

/** A locally administered, unicast MAC from the random bits of a nic's id: unique enough to try, checked by the table. */
export function macOf(nicId: string): string {
  const hex = nicId.replaceAll('-', '');
  // The last 10 hex digits of a version 4 UUID are random.
  return ['02', ...(hex.slice(-10).match(/../g) ?? [])].join(':');
}

/**
 * Gives an instance its nics: for each a MAC and the address that is asked for, or the lowest free one of the network. The
 * network's row is locked until the commit, so that two creates never look at the same free address.
 * @throws invalid (network unknown, address not of it), conflict (address taken), unavailable (subnet full)
 */
export async function nicsAllocate(
  tx: Tx,
  instance: { id: string; projectId: string; nics: readonly NicWanted[] },
): Promise<void> {
  if (instance.nics.length === 0) return;
  const names = [...new Set(instance.nics.map((n) => n.network))];
  const networks = await tx.rows<{ id: string; name: string; cidr: string }>(
    `SELECT id, name, cidr FROM networks WHERE project_id = $1 AND name = ANY ($2) ORDER BY id FOR NO KEY UPDATE`,
    [instance.projectId, names],
  );
  for (const [index, nic] of instance.nics.entries()) {
    const network = networks.find((n) => n.name === nic.network);
    if (network === undefined)
      throw invalidField(
        `/spec/nics/${index}/network`,
        `names no network of the project ("${nic.network}")`,
        'list the networks of the project and use one of their names',
      );
    const path = `/spec/nics/${index}/address`;
    if (nic.address !== undefined) await addressFree(tx, path, nic.address, network);
    await nicAllocate(tx, instance.id, index, network, nic.address);
  }
}

interface NicWanted {
  readonly network: string;
  readonly address?: string | undefined;
}
interface NetworkLocked {
  readonly id: string;
  readonly name: string;
  readonly cidr: string;
}

const anotherAddress = 'choose another, or leave it out: the lowest free address is taken then';

/** @throws invalid, conflict (names who has it) */
async function addressFree(tx: Tx, path: string, address: string, network: NetworkLocked): Promise<void> {
  const { first, last } = guestAddresses(network.cidr);
  const number = ipv4Number(address);
  if (number < ipv4Number(first) || number > ipv4Number(last))
    throw invalidField(
      path,
      `must be one of ${first} to ${last} on network "${network.name}" (${network.cidr})`,
      anotherAddress,
    );
  const owner = await tx.row<{ name: string }>(
    `SELECT i.name FROM addresses a JOIN nics n ON n.id = a.nic_id JOIN instances i ON i.id = n.instance_id
     WHERE a.network_id = $1 AND a.address = $2::inet`,
    [network.id, address],
  );
  if (owner === null) return;
  throw new BerthError('conflict', `${address} belongs to instance "${owner.name}"`, {
    remedy: anotherAddress,
    errors: [
      { path, code: 'conflict', message: `belongs to instance "${owner.name}"`, remedy: anotherAddress },
    ],
  });
}

async function nicAllocate(
  tx: Tx,
  instanceId: string,
  index: number,
  network: NetworkLocked,
  address: string | undefined,
): Promise<void> {
  const nicId = await freshNicId(tx, network.id);
  // The first address is the gateway, the last one is broadcast.
  const taken = await tx.changed(
    `WITH free AS (
       SELECT set_masklen(network($2::cidr)::inet, masklen($2::cidr)) + n AS address
       FROM generate_series(2, (2 ^ (32 - masklen($2::cidr)))::bigint - 2) n
       WHERE ($8::inet IS NULL OR host(network($2::cidr)::inet + n)::inet = $8) AND NOT EXISTS (SELECT FROM addresses a WHERE a.network_id = $1 AND a.address = host(network($2::cidr)::inet + n)::inet)
       LIMIT 1
     ), nic AS (
       INSERT INTO nics (id, instance_id, network_id, index, mac) SELECT $3, $4, $1, $5, $6 FROM free
     ) INSERT INTO addresses (network_id, address, nic_id, created_at) SELECT $1, host(address)::inet, $3, $7 FROM free`,
    [network.id, network.cidr, nicId, instanceId, index, macOf(nicId), tx.now, address ?? null],
  );
  if (taken === 0)
    throw new BerthError('unavailable', `network "${network.name}" (${network.cidr}) has no free address`, {
      remedy: 'delete instances that are not needed, or use another network',
    });
}

async function freshNicId(tx: Tx, networkId: string): Promise<string> {
  for (;;) {
    const id = tx.ids.uuid();
    const [other] = await tx.rows(`SELECT 1 FROM nics WHERE network_id = $1 AND mac = $2`, [
      networkId,
      macOf(id),
    ]);
    if (other === undefined) return id;
  }
}
