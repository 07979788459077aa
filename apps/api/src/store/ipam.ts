import {
  BerthError,
  type FieldError,
  guestAddresses,
  guestAddresses6,
  type InstanceSpec,
  ipv4Number,
  ipv6Number,
} from '@berth/model';
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
  readonly address6?: string | undefined;
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
  readonly cidr6: string | null;
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
    `SELECT n.id, n.network_id, n.index, host(a.address) AS ipv4, host(a.address6) AS ipv6, n.leaving IS NOT NULL AS leaving
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
    await addressesMove(tx, plan, nic);
  }
}

/** Whether a nic that stays is asked to have another address than it has. */
function movesTo(plan: NicPlan, nic: NicHad, field: AddressField): string | null {
  const wanted = plan.nic[field];
  const { had, same } = addressKinds[field];
  return wanted === undefined || same(wanted, nic[had]) ? null : wanted;
}

/** @throws invalid, conflict */
async function addressesMove(tx: Tx, plan: NicPlan, nic: NicHad): Promise<void> {
  for (const field of addressFields) {
    const wanted = movesTo(plan, nic, field);
    if (wanted === null) continue;
    await addressFree(tx, plan, field, wanted);
    const { column } = addressKinds[field];
    await tx.changed(`UPDATE addresses SET ${column} = $2::inet WHERE nic_id = $1`, [nic.id, wanted]);
  }
}

/** A nic of an instance, as it is until now. */
interface NicHad {
  readonly id: string;
  readonly network_id: string;
  readonly index: number;
  readonly ipv4: string;
  readonly ipv6: string | null;
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
    for (const field of addressFields)
      if (movesTo(plan, nic, field) !== null)
        refuse(`/${field}`, 'cannot change while it runs', 'stop the instance first');
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
    `SELECT id, name, cidr, cidr6 FROM networks WHERE project_id = $1 AND name = ANY ($2) ORDER BY id FOR NO KEY UPDATE`,
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

/** Whether nics of a spec are on networks with IPv6. */
export async function ipv6Among(
  tx: Pick<Tx, 'row'>,
  projectId: string,
  { nics }: Pick<InstanceSpec, 'nics'>,
): Promise<boolean> {
  const row = await tx.row<{ yes: boolean }>(
    `SELECT EXISTS (SELECT FROM networks WHERE project_id = $1 AND name = ANY ($2) AND cidr6 IS NOT NULL) AS yes`,
    [projectId, nics.map(({ network }) => network)],
  );
  return row?.yes === true;
}

const anotherAddress = 'choose another, or leave it out: the lowest free address is taken then';

/** The addresses that a nic may ask for, by their field. */
const addressKinds = {
  address: {
    column: 'address',
    had: 'ipv4',
    same: (wanted: string, has: string | null) => wanted === has,
    range: ({ cidr }: NetworkLocked) => ({ cidr, ...guestAddresses(cidr), number: ipv4Number }),
  },
  address6: {
    column: 'address6',
    had: 'ipv6',
    // One address has many spellings.
    same: (wanted: string, has: string | null) => has !== null && ipv6Number(wanted) === ipv6Number(has),
    range: ({ cidr6: cidr }: NetworkLocked) =>
      cidr === null ? null : { cidr, ...guestAddresses6(cidr), number: ipv6Number },
  },
} as const;
type AddressField = keyof typeof addressKinds;
const addressFields = ['address', 'address6'] as const satisfies readonly AddressField[];

/** @throws invalid, conflict (names who has it) */
async function addressFree(
  tx: Tx,
  { index, network }: NicPlan,
  field: AddressField,
  address: string,
): Promise<void> {
  const path = `/spec/nics/${index}/${field}`;
  const { column, range } = addressKinds[field];
  const of = range(network);
  if (of === null)
    throw invalidField(
      path,
      `asks for IPv6, which network "${network.name}" does not have`,
      'leave it out, or name a network that was created with ipv6Cidr',
    );
  const { first, last, cidr, number } = of;
  if (number(address) < number(first) || number(address) > number(last))
    throw invalidField(
      path,
      `must be one of ${first} to ${last} on network "${network.name}" (${cidr})`,
      anotherAddress,
    );
  const owner = await tx.row<{ name: string }>(
    `SELECT i.name FROM addresses a JOIN nics n ON n.id = a.nic_id JOIN instances i ON i.id = n.instance_id
     WHERE a.network_id = $1 AND a.${column} = $2::inet`,
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
  for (const field of addressFields) {
    const wanted = nic[field];
    if (wanted !== undefined) await addressFree(tx, plan, field, wanted);
  }
  const nicId = await freshNicId(tx, network.id);
  const address6 = await address6Choose(tx, plan);
  // The first address is the gateway, the last one is broadcast.
  const taken = await tx.changed(
    `WITH free AS (
       SELECT set_masklen(network($2::cidr)::inet, masklen($2::cidr)) + n AS address
       FROM generate_series(2, (2 ^ (32 - masklen($2::cidr)))::bigint - 2) n
       WHERE ($8::inet IS NULL OR host(network($2::cidr)::inet + n)::inet = $8) AND NOT EXISTS (SELECT FROM addresses a WHERE a.network_id = $1 AND a.address = host(network($2::cidr)::inet + n)::inet)
       LIMIT 1
     ), nic AS (
       INSERT INTO nics (id, instance_id, network_id, index, mac) SELECT $3, $4, $1, $5, $6 FROM free
     ) INSERT INTO addresses (network_id, address, address6, nic_id, created_at) SELECT $1, host(address)::inet, $9::inet, $3, $7 FROM free`,
    [network.id, network.cidr, nicId, instanceId, index, macOf(nicId), tx.now, nic.address ?? null, address6],
  );
  if (taken === 0)
    throw new BerthError('unavailable', `network "${network.name}" (${network.cidr}) has no free address`, {
      remedy: 'delete instances that are not needed, or use another network',
    });
}

/**
 * The IPv6 address of a new nic: what is asked for, or the lowest free one; null where the network has none. A prefix has more than IPv4
 * has instances, so a free one is among as many as are taken, and one.
 */
async function address6Choose(tx: Tx, { network, nic }: NicPlan): Promise<string | null> {
  if (network.cidr6 === null || nic.address6 !== undefined) return nic.address6 ?? null;
  const free = await tx.row<{ address: string }>(
    `SELECT host(network($2::cidr)::inet + n) AS address
     FROM generate_series(2, 2 + (SELECT count(*) FROM addresses WHERE network_id = $1)) n
     WHERE NOT EXISTS (SELECT FROM addresses a WHERE a.network_id = $1 AND a.address6 = host(network($2::cidr)::inet + n)::inet)
     ORDER BY n LIMIT 1`,
    [network.id, network.cidr6],
  );
  if (free === null) throw new Error(`network ${network.id} has no free IPv6 address`);
  return free.address;
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
