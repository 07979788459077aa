import { ifnameCheck, macEncode } from '@berth/linux';
import { hash } from './network-names.js';
import { concat, type Expression, field, match, meta, type NftCommand, tableCheck } from './nft-words.js';
import { addressParse, addressText } from './subnet.js';

/** A nic whose frames are looked at: the host's end of it, and what it may send as. */
export interface GuardedNic {
  readonly ifname: string;
  readonly mac: string;
  readonly ipv4: string;
}

export interface GuardSettings {
  readonly table: string;
  /** What the names of this agent's nics begin with. */
  readonly prefixes: readonly string[];
}

const family = 'bridge';
const accept: Expression = { accept: null };
const drop: Expression = { drop: null };

/** Link and MAC of every nic; link, MAC and address; links of nics that an earlier agent made without a guard. */
const sets = {
  macs: ['ifname', 'ether_addr'],
  nics: ['ifname', 'ether_addr', 'ipv4_addr'],
  unguarded: 'ifname',
} as const;

/**
 * What the guests of this host may send, frame by frame, before a bridge forwards or learns anything of it: with the
 * MAC of their nic; ARP that tells of that MAC and the nic's address, or asks whether the address is free (RFC 5227); IPv4 from
 * that address, or a DHCP request of one who has none yet, and no answers of a DHCP server. All else is dropped: IPv6, which
 * these networks do not have, VLAN tags, and whatever comes from a nic that was not let in.
 */
export function guardRules(s: GuardSettings): readonly (readonly Expression[])[] {
  const link = meta('iifname');
  const source = field('ether', 'saddr');
  const type = (name: string) => match(field('ether', 'type'), name);
  const arp = (name: string) => field('arp', name);
  const none = '0.0.0.0';
  return [
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
    [drop],
  ];
}

/** The comment on each rule of a table, by which a look tells whether they are the wanted ones. */
export function guardMark(s: GuardSettings): string {
  return `berth ${hash(JSON.stringify([sets, guardRules(s)]), 16)}`;
}

/** Commands that put the table in place in one transaction, whatever was there before. */
export function guardApply(
  s: GuardSettings,
  nics: readonly GuardedNic[],
  unguarded: readonly string[],
): { readonly nftables: readonly NftCommand[] } {
  const table = { family, name: tableCheck(s.table) };
  const comment = guardMark(s);
  return {
    nftables: [
      { add: { table } }, // so that the deletion finds one
      { delete: { table } },
      { add: { table } },
      ...Object.entries(sets).map(([name, type]) => ({
        add: { set: { family, table: s.table, name, type } },
      })),
      {
        add: {
          chain: {
            family,
            table: s.table,
            name: 'prerouting',
            type: 'filter',
            hook: 'prerouting',
            // Before everything else, connection tracking too.
            prio: -300,
            policy: 'accept',
          },
        },
      },
      ...guardRules(s).map((expr) => ({
        add: { rule: { family, table: s.table, chain: 'prerouting', comment, expr } },
      })),
      ...nics.flatMap((nic) => elements('add', s, nic)),
      ...(unguarded.length === 0
        ? []
        : [
            {
              add: {
                element: { family, table: s.table, name: 'unguarded', elem: unguarded.map(ifnameCheck) },
              },
            },
          ]),
    ],
  };
}

/** Commands that let one more nic send. Repeating them is no error. */
export function guardAdmit(s: GuardSettings, nic: GuardedNic): { readonly nftables: readonly NftCommand[] } {
  tableCheck(s.table);
  return { nftables: elements('add', s, nic) };
}

/** Commands that take nics out of the sets again; they must be in them. */
export function guardExpel(
  s: GuardSettings,
  nics: readonly GuardedNic[],
): { readonly nftables: readonly NftCommand[] } {
  tableCheck(s.table);
  // Deleting what is not there is an error: it is added before.
  return { nftables: nics.flatMap((nic) => [...elements('add', s, nic), ...elements('delete', s, nic)]) };
}

/** Commands that take the table away, also when there is none. */
export function guardDelete(name: string): { readonly nftables: readonly NftCommand[] } {
  const table = { family, name: tableCheck(name) };
  return { nftables: [{ add: { table } }, { delete: { table } }] };
}

function elements(verb: 'add' | 'delete', s: GuardSettings, nic: GuardedNic): NftCommand[] {
  const link = ifnameCheck(nic.ifname);
  const mac = (macEncode(nic.mac).toString('hex').match(/../g) ?? []).join(':');
  const ipv4 = addressText(addressParse(nic.ipv4));
  const one = (name: string, ...parts: string[]): NftCommand => ({
    [verb]: { element: { family, table: s.table, name, elem: [concat(...parts)] } },
  });
  return [one('macs', link, mac), one('nics', link, mac, ipv4)];
}
