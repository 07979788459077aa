import { ifnameCheck } from '@berth/linux';
import type { Subnet } from './subnet.js';
import { hash } from './network-names.js';

/** One command of libnftables' JSON (libnftables-json(5)). */
export type NftCommand = Readonly<Record<string, unknown>>;

type Expression = Readonly<Record<string, unknown>>;

export interface NftSettings {
  readonly table: string;
  readonly bridge: string;
  readonly subnet: Subnet;
  readonly gateway: string;
}

const match = (left: unknown, right: unknown, op = '=='): Expression => ({ match: { op, left, right } });
const meta = (key: string) => ({ meta: { key } });
const field = (protocol: string, name: string) => ({ payload: { protocol, field: name } });
const established = match({ ct: { key: 'state' } }, ['established', 'related'], 'in');
const accept: Expression = { accept: null };
const drop: Expression = { drop: null };

/**
 * The table of one network, whole: what a guest may reach on this host (DHCP, DNS, ping to its gateway), that nothing
 * but answers is forwarded to it from other networks, that it sends with addresses of its own subnet, and the
 * masquerading of what leaves. An accept here ends only our own chain: other tables (Docker's, an administrator's)
 * still have their say.
 */
export function nftRules(s: NftSettings): { readonly chain: string; readonly expr: readonly Expression[] }[] {
  const bridge = ifnameCheck(s.bridge);
  const from = match(meta('iifname'), bridge);
  const to = match(meta('oifname'), bridge);
  const toGateway = match(field('ip', 'daddr'), s.gateway);
  const ownSubnet = { prefix: { addr: s.subnet.network, len: s.subnet.prefix } };
  const dhcpTargets = match(field('ip', 'daddr'), { set: [s.gateway, '255.255.255.255'] });
  return [
    { chain: 'input', expr: [match(meta('iifname'), bridge, '!='), accept] },
    { chain: 'input', expr: [established, accept] },
    { chain: 'input', expr: [dhcpTargets, match(field('udp', 'dport'), 67), accept] },
    { chain: 'input', expr: [toGateway, match(field('udp', 'dport'), 53), accept] },
    { chain: 'input', expr: [toGateway, match(field('tcp', 'dport'), 53), accept] },
    { chain: 'input', expr: [toGateway, match(field('icmp', 'type'), 'echo-request'), accept] },
    { chain: 'input', expr: [drop] },
    { chain: 'forward', expr: [from, to, accept] },
    { chain: 'forward', expr: [to, established, accept] },
    { chain: 'forward', expr: [to, drop] },
    { chain: 'forward', expr: [from, match(field('ip', 'saddr'), ownSubnet, '!='), drop] },
    { chain: 'forward', expr: [from, match(meta('nfproto'), 'ipv6'), drop] },
    {
      chain: 'postrouting',
      expr: [
        match(field('ip', 'saddr'), ownSubnet),
        match(meta('oifname'), bridge, '!='),
        { masquerade: null },
      ],
    },
  ];
}

/** The comment on each rule of a table: changes with the rules, so that a look tells whether they are the wanted ones. */
export function nftMark(s: NftSettings): string {
  return `berth ${hash(JSON.stringify(nftRules(s)), 16)}`;
}

/** Commands that put the table in place in one transaction, whatever was there before. */
export function nftApply(s: NftSettings): { readonly nftables: NftCommand[] } {
  const table = { family: 'inet', name: tableCheck(s.table) };
  const chain = (name: string, type: string, prio: number): NftCommand => ({
    add: { chain: { family: 'inet', table: s.table, name, type, hook: name, prio, policy: 'accept' } },
  });
  const comment = nftMark(s);
  return {
    nftables: [
      { add: { table } }, // so that the deletion finds one
      { delete: { table } },
      { add: { table } },
      chain('input', 'filter', 0),
      chain('forward', 'filter', 0),
      chain('postrouting', 'nat', 100),
      ...nftRules(s).map(({ chain: name, expr }) => ({
        add: { rule: { family: 'inet', table: s.table, chain: name, comment, expr } },
      })),
    ],
  };
}

/** Commands that take the table away, also when there is none. */
export function nftDelete(name: string): { readonly nftables: NftCommand[] } {
  const table = { family: 'inet', name: tableCheck(name) };
  return { nftables: [{ add: { table } }, { delete: { table } }] };
}

/** Whether a listing (`nft -j list table`) shows exactly the rules of `nftApply`, by count and mark. */
export function nftMatches(listing: unknown, s: NftSettings): boolean {
  const entries = (listing as { nftables?: { rule?: { comment?: string } }[] }).nftables ?? [];
  const rules = entries.flatMap((e) => (e.rule === undefined ? [] : [e.rule]));
  const mark = nftMark(s);
  return rules.length === nftRules(s).length && rules.every((r) => r.comment === mark);
}

/** nft takes names from JSON literally into its scanner's place: keep them to what its grammar calls a string. */
function tableCheck(name: string): string {
  if (!/^[a-zA-Z][a-zA-Z0-9_]{0,63}$/.test(name))
    throw new RangeError(`not a table name: ${JSON.stringify(name)}`);
  return name;
}
