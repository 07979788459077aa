import { ifnameCheck, macEncode } from '@berth/linux';
import { ipv6Number, linkLocalOf } from '@berth/model';
import { hash, type NicAddresses } from './network-names.js';
import { guard6Rules } from './nft-guard6.js';
import { concat, type Expression, field, match, meta, type NftCommand, tableCheck } from './nft-words.js';
import { address6Text, addressParse, addressText } from './subnet.js';

/** A nic whose frames are looked at: the host's end of it, and what it may send as. */
export interface GuardedNic extends NicAddresses {
  readonly ifname: string;
}

export interface GuardSettings {
  readonly table: string;
  /** What the names of this agent's nics begin with. */
  readonly prefixes: readonly string[];
}

const family = 'bridge';
const accept: Expression = { accept: null };
const drop: Expression = { drop: null };

/**
 * Link and MAC of every nic; link, MAC and address, of either version; links of nics that an earlier agent made without a guard. And by
 * link, the chain that knows which addresses a nic may say it has.
 */
const sets = {
  macs: ['ifname', 'ether_addr'],
  nics: ['ifname', 'ether_addr', 'ipv4_addr'],
  nics6: ['ifname', 'ether_addr', 'ipv6_addr'],
  unguarded: 'ifname',
} as const;
const claims = { type: 'ifname', map: 'verdict' } as const;

/** In the order that a frame meets them. */
const chains = {
  prerouting: {
    type: 'filter',
    hook: 'prerouting',
    // Before everything else, connection tracking too.
    prio: -300,
    policy: 'accept',
  },
  ipv6: {},
} as const;
type Chain = keyof typeof chains;

/**
 * What the guests of this host may send, frame by frame, before a bridge forwards or learns anything of it: with the
 * MAC of their nic; ARP that tells of that MAC and the nic's address, or asks whether the address is free (RFC 5227); IPv4 from
 * that address, or a DHCP request of one who has none yet, and no answers of a DHCP server; IPv6 as {@link guard6Rules} says. All else
 * is dropped: VLAN tags, and whatever comes from a nic that was not let in.
 */
export function guardRules(
  s: GuardSettings,
): readonly { readonly chain: Chain; readonly expr: readonly Expression[] }[] {
  const link = meta('iifname');
  const source = field('ether', 'saddr');
  const type = (name: string) => match(field('ether', 'type'), name);
  const arp = (name: string) => field('arp', name);
  const none = '0.0.0.0';
  const first: readonly (readonly Expression[])[] = [
    // Of others: their names begin with nothing of ours.
    [...s.prefixes.map((prefix) => match(link, `${ifnameCheck(prefix)}*`, '!=')), accept],
    [match(link, '@unguarded'), accept],
    [match(concat(link, source), '@macs', '!='), drop],
    [type('arp'), match(concat(link, arp('saddr ether'), arp('saddr ip')), '@nics'), accept],
    [type('arp'), match(arp('saddr ip'), none), match(concat(link, arp('saddr ether')), '@macs'), accept],
    [type('ip'), match(field('udp', 'sport'), 67), match(field('udp', 'dport'), 68), drop],
    [type('ip'), match(concat(link, source, field('ip', 'saddr')), '@nics'), accept],
    [
      type('ip'),
      match(field('ip', 'saddr'), none),
      match(field('ip', 'daddr'), '255.255.255.255'),
      match(field('udp', 'sport'), 68),
      match(field('udp', 'dport'), 67),
      accept,
    ],
    [type('ip6'), { goto: { target: 'ipv6' } }],
    [drop],
  ];
  return [
    ...first.map((expr) => ({ chain: 'prerouting' as const, expr })),
    ...guard6Rules().map((expr) => ({ chain: 'ipv6' as const, expr })),
  ];
}

/** The comment on each rule of a table, by which a look tells whether they are the wanted ones. */
export function guardMark(s: GuardSettings): string {
  return `berth ${hash(JSON.stringify([sets, claims, guardRules(s)]), 16)}`;
}

/** Commands that put the table in place in one transaction, whatever was there before. */
export function guardApply(
  s: GuardSettings,
  nics: readonly GuardedNic[],
  unguarded: readonly string[],
): { readonly nftables: readonly NftCommand[] } {
  const table = { family, name: tableCheck(s.table) };
  const comment = guardMark(s);
  const of = { family, table: s.table };
  return {
    nftables: [
      { add: { table } }, // so that the deletion finds one
      { delete: { table } },
      { add: { table } },
      ...Object.entries(sets).map(([name, type]) => ({ add: { set: { ...of, name, type } } })),
      { add: { map: { ...of, name: 'claims', ...claims } } },
      ...Object.entries(chains).map(([name, base]) => ({ add: { chain: { ...of, name, ...base } } })),
      ...guardRules(s).map(({ chain, expr }) => ({ add: { rule: { ...of, chain, comment, expr } } })),
      ...nics.flatMap((nic) => admission(s, nic)),
      ...(unguarded.length === 0
        ? []
        : [{ add: { element: { ...of, name: 'unguarded', elem: unguarded.map(ifnameCheck) } } }]),
    ],
  };
}

/** Commands that let one more nic send. Repeating them is no error. */
export function guardAdmit(s: GuardSettings, nic: GuardedNic): { readonly nftables: readonly NftCommand[] } {
  tableCheck(s.table);
  return { nftables: admission(s, nic) };
}

/** Commands that take nics out of the guard again, whether they are in it or not. */
export function guardExpel(
  s: GuardSettings,
  nics: readonly GuardedNic[],
): { readonly nftables: readonly NftCommand[] } {
  tableCheck(s.table);
  // Deleting what is not there is an error: it is added before.
  return {
    nftables: nics.flatMap((nic) => [
      ...admission(s, nic),
      ...elements('delete', s, nic),
      ...(nic.ipv6 === undefined ? [] : [{ delete: { chain: claimsChain(s, nic) } }]),
    ]),
  };
}

/** Commands that take the table away, also when there is none. */
export function guardDelete(name: string): { readonly nftables: readonly NftCommand[] } {
  const table = { family, name: tableCheck(name) };
  return { nftables: [{ add: { table } }, { delete: { table } }] };
}

function admission(s: GuardSettings, nic: GuardedNic): NftCommand[] {
  if (nic.ipv6 === undefined) return elements('add', s, nic);
  const chain = claimsChain(s, nic);
  const mine = { set: [linkLocalOf(macText(nic)), address6Text(nic.ipv6)].map(addressDigits) };
  // nft of Debian 12 has no name for the target of neighbour discovery (RFC 4861, 4.3 and 4.4): bytes 8 to 23.
  const target = { payload: { base: 'th', offset: 64, len: 128 } };
  return [
    { add: { chain } },
    { flush: { chain } },
    ...[[match(target, mine), accept], [drop]].map((expr) => ({
      add: { rule: { family, table: s.table, chain: chain.name, expr } },
    })),
    ...elements('add', s, nic),
  ];
}

const addressDigits = (address: string): string => `0x${ipv6Number(address).toString(16).padStart(32, '0')}`;

function claimsChain(s: GuardSettings, { ifname }: GuardedNic) {
  return { family, table: s.table, name: tableCheck(`claims_${ifname}`) };
}

const macText = ({ mac }: GuardedNic): string =>
  (macEncode(mac).toString('hex').match(/../g) ?? []).join(':');

function elements(verb: 'add' | 'delete', s: GuardSettings, nic: GuardedNic): NftCommand[] {
  const link = ifnameCheck(nic.ifname);
  const mac = macText(nic);
  const ipv4 = addressText(addressParse(nic.ipv4));
  const one = (name: string, elem: unknown): NftCommand => ({
    [verb]: { element: { family, table: s.table, name, elem: [elem] } },
  });
  const all = [one('macs', concat(link, mac)), one('nics', concat(link, mac, ipv4))];
  if (nic.ipv6 === undefined) return all;
  const claim = { goto: { target: claimsChain(s, nic).name } };
  return [
    ...all,
    ...[address6Text(nic.ipv6), linkLocalOf(mac)].map((ip) => one('nics6', concat(link, mac, ip))),
    one('claims', [link, claim]),
  ];
}
