import { BerthError, guestAddresses, ipv4Number, type FieldError, type InstanceSpec } from '@berth/model';
import type { Tx } from './db.js';
import { invalidField } from './refusals.js';

/** A locally administered, unicast MAC from the random bits of a nic's id: unique enough to try, checked by the table. */
export function macOf(nicId: string): string {
  const hex = nicId.replaceAll('-', '');
  // The last 10 hex digits of a version 4 UUID are random.
  return ['02', ...(hex.slice(-10).match(/../g) ?? [])].join(':');
}

interface NicWanted {
  readonly network: string;
  readonly address?: string | undefined;
}
interface NicsOf {
  readonly id: string;
  readonly projectId: string;
  readonly nics: readonly NicWanted[];
}
interface NetworkLocked {
  readonly id: string;
  readonly name: string;
  readonly cidr: string;
}
/** One nic that is wanted, with the network that it names. */
interface NicPlan {
  readonly nic: NicWanted;
  readonly index: number;
  readonly network: NetworkLocked;
}

/**
 * Gives an instance its nics: for each a MAC and the address that is asked for, or the lowest free one of the network. The
 * network's row is locked until the commit, so that two creates never look at the same free address.
 * @throws invalid (network unknown, address not of it), conflict (address taken), unavailable (subnet full)
 */
export async function nicsAllocate(tx: Tx, instance: NicsOf): Promise<void> {
  for (const plan of await nicsPlan(tx, instance)) await nicAllocate(tx, instance.id, plan);
}

/**
 * Brings the nics of an instance to what is wanted now: one whose network stays keeps its MAC and, unless another is asked
 * for, its address, whatever its place. @param live its spec until now, where a host has it: what goes then keeps its
 * address until the host says that it is gone. @throws as nicsAllocate, stateConflict
 */
export async function nicsChange(tx: Tx, instance: NicsOf, live: InstanceSpec['nics'] | null): Promise<void> {
  const plans = await nicsPlan(tx, instance);
  const all = await tx.rows<NicHad & Record<string, unknown>>(
    `SELECT n.id, n.network_id, n.index, host(a.address) AS ipv4, n.leaving IS NOT NULL AS leaving
     FROM nics n JOIN addresses a ON a.nic_id = n.id WHERE n.instance_id = $1 ORDER BY n.index`,
    [instance.id],
  );
  const has = all.filter(({ leaving }) => !leaving);
  const kept = plans.map((plan) => has.find((one) => one.network_id === plan.network.id) ?? null);
  const gone = has.filter((one) => !kept.includes(one)).map((one) => one.id);
  if (live !== null) refuseLive(plans, kept, all);
  if (live === null) {
    await tx.changed(`DELETE FROM addresses WHERE nic_id = ANY ($1)`, [gone]);
    await tx.changed(`DELETE FROM nics WHERE id = ANY ($1)`, [gone]);
  } else for (const nicId of gone) await nicLeave(tx, nicId, live[has.findIndex(({ id }) => id === nicId)]);
  // Out of each other's way first: two may trade places.
  await tx.changed(
    `UPDATE nics SET index = index + ${2 * LEAVING} WHERE instance_id = $1 AND leaving IS NULL`,
    [instance.id],
  );
  for (const [at, plan] of plans.entries()) {
    const nic = kept[at];
    if (nic === null || nic === undefined) {
      await nicAllocate(tx, instance.id, plan);
      continue;
    }
    await tx.changed(`UPDATE nics SET index = $2 WHERE id = $1`, [nic.id, plan.index]);
    const { address } = plan.nic;
    if (address === undefined || address === nic.ipv4) continue;
    await addressFree(tx, plan, address);
    await tx.changed(`UPDATE addresses SET address = $2::inet WHERE nic_id = $1`, [nic.id, address]);
  }
}

/** A nic of an instance, as it is until now. */
interface NicHad {
  readonly id: string;
  readonly network_id: string;
  readonly index: number;
  readonly ipv4: string;
  readonly leaving: boolean;
}

/** Places of nics that are leaving begin here: behind all that a spec can name. */
const LEAVING = 1_000;

async function nicLeave(tx: Tx, nicId: string, had: InstanceSpec['nics'][number] | undefined): Promise<void> {
  await tx.changed(
    `UPDATE nics SET leaving = $2, index = (SELECT greatest(max(o.index), ${LEAVING}) + 1 FROM nics o WHERE o.instance_id = nics.instance_id)
     WHERE id = $1`,
    [nicId, JSON.stringify(had ?? {})],
  );
}

/** What a guest would not hear of while it runs; every field is named. @throws stateConflict */
function refuseLive(
  plans: readonly NicPlan[],
  kept: readonly (NicHad | null)[],
  all: readonly NicHad[],
): void {
  const errors: FieldError[] = [];
  for (const [i, plan] of plans.entries()) {
    const nic = kept[i] ?? null;
    const refuse = (field: string, message: string, remedy: string): unknown =>
      errors.push({ path: `/spec/nics/${i}${field}`, code: 'stateConflict', message, remedy });
    if (all.some(({ leaving, network_id: of }) => leaving && of === plan.network.id))
      refuse(
        '/network',
        'has a nic of this instance that its guest has not let go of',
        'wait until it is gone, or stop the instance',
      );
    if (nic === null) continue;
    if (plan.nic.address !== undefined && plan.nic.address !== nic.ipv4)
      refuse('/address', 'cannot change while it runs', 'stop the instance first');
    if ((nic.index === 0) !== (i === 0))
      refuse(
        '',
        'would become the first nic, or be it no more, which has the default route',
        'keep the first nic first, or stop the instance first',
      );
  }
  const [first] = errors;
  if (first === undefined) return;
  const { remedy } = first;
  throw new BerthError('stateConflict', `${first.path} ${first.message}`, { remedy, errors });
}

/** The networks that nics name, locked. @throws invalid */
async function nicsPlan(tx: Tx, { projectId, nics }: NicsOf): Promise<NicPlan[]> {
  if (nics.length === 0) return [];
  const networks = await tx.rows<NetworkLocked & Record<string, unknown>>(
    `SELECT id, name, cidr FROM networks WHERE project_id = $1 AND name = ANY ($2) ORDER BY id FOR NO KEY UPDATE`,
    [projectId, [...new Set(nics.map((n) => n.network))]],
  );
  return nics.map((nic, index) => {
    const network = networks.find((n) => n.name === nic.network);
    if (network === undefined)
      throw invalidField(
        `/spec/nics/${index}/network`,
        `names no network of the project ("${nic.network}")`,
        'list the networks of the project and use one of their names',
      );
    return { nic, index, network };
  });
}

const anotherAddress = 'choose another, or leave it out: the lowest free address is taken then';

/** @throws invalid, conflict (names who has it) */
async function addressFree(tx: Tx, { index, network }: NicPlan, address: string): Promise<void> {
  const path = `/spec/nics/${index}/address`;
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

async function nicAllocate(tx: Tx, instanceId: string, plan: NicPlan): Promise<void> {
  const { network, index, nic } = plan;
  if (nic.address !== undefined) await addressFree(tx, plan, nic.address);
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
    [network.id, network.cidr, nicId, instanceId, index, macOf(nicId), tx.now, nic.address ?? null],
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
