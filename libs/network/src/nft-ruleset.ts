import { ifnameCheck } from '@berth/linux';
import type { HostPort } from '@berth/model';
import { hash } from './network-names.js';
import { groupRules, type GroupSettings } from './nft-groups.js';
import { type Expression, field, match, meta, type NftCommand, set, tableCheck } from './nft-words.js';
import { addressParse, addressText, badSpec, type Subnet } from './subnet.js';

export interface NftSettings extends GroupSettings {
  readonly table: string;
  readonly bridge: string;
  readonly subnet: Subnet;
  readonly gateway: string;
  readonly ports: readonly HostPort[];
  /** Guests whose way out is another network: they answer the world only where the gateway asks in its place. */
  readonly secondary: readonly string[];
  /** Its guests begin nothing but among each other; what comes to them by a published port is answered. */
  readonly internal: boolean;
}

const established = match({ ct: { key: 'state' } }, ['established', 'related'], 'in');
const accept: Expression = { accept: null };
const drop: Expression = { drop: null };
const jump = (target: Chain): Expression => ({ jump: { target } });

type Rule = { readonly chain: Chain; readonly expr: readonly Expression[] };
type Chain = keyof typeof chains;

/** Priorities as in nftables' own names: raw, dstnat, filter, srcnat. */
const chains = {
  raw: { type: 'filter', hook: 'prerouting', prio: -300 },
  prerouting: { type: 'nat', hook: 'prerouting', prio: -100 },
  output: { type: 'nat', hook: 'output', prio: -100 },
  input: { type: 'filter', hook: 'input', prio: 0 },
  forward: { type: 'filter', hook: 'forward', prio: 0 },
  postrouting: { type: 'nat', hook: 'postrouting', prio: 100 },
  // Asked by forward.
  published: {},
  egress: {},
  ingress: {},
} as const;

const loopback = { prefix: { addr: '127.0.0.0', len: 8 } };
/** Of a connection whose target was changed, by whichever table. */
const redirected = match({ ct: { key: 'status' } }, 'dnat', 'in');

/**
 * The table of one network, whole: what a guest may reach on this host (DHCP, DNS, ping to its gateway), that nothing
 * but answers and published ports is forwarded to it from other networks, what its security groups say, that it sends with
 * addresses of its own subnet, and the masquerading of what leaves. An accept here ends only our own chain: other tables (Docker's, an administrator's)
 * still have their say.
 */
export function nftRules(s: NftSettings): readonly Rule[] {
  const bridge = ifnameCheck(s.bridge);
  const from = match(meta('iifname'), bridge);
  const to = match(meta('oifname'), bridge);
  const gateway = addressText(addressParse(s.gateway));
  const toGateway = match(field('ip', 'daddr'), gateway);
  const ownSubnet = { prefix: { addr: s.subnet.network, len: s.subnet.prefix } };
  const dhcpTargets = match(field('ip', 'daddr'), set([gateway, '255.255.255.255']));
  const ports = s.ports.map(portCheck);
  const secondary = s.secondary.map((address) => addressText(addressParse(address)));
  return [
    // With published ports the bridge routes 127.0.0.0/8, for the host's own programs: never for a guest.
    { chain: 'raw', expr: [from, match(field('ip', 'daddr'), loopback), drop] },
    { chain: 'raw', expr: [from, match(field('ip', 'saddr'), loopback), drop] },
    ...publishing('prerouting', ports),
    ...publishing('output', ports),
    { chain: 'input', expr: [match(meta('iifname'), bridge, '!='), accept] },
    { chain: 'input', expr: [established, accept] },
    { chain: 'input', expr: [dhcpTargets, match(field('udp', 'dport'), 67), accept] },
    { chain: 'input', expr: [toGateway, match(field('udp', 'dport'), 53), accept] },
    { chain: 'input', expr: [toGateway, match(field('tcp', 'dport'), 53), accept] },
    { chain: 'input', expr: [toGateway, match(field('icmp', 'type'), 'echo-request'), accept] },
    { chain: 'input', expr: [drop] },
    { chain: 'forward', expr: [from, match(field('ip', 'saddr'), ownSubnet, '!='), drop] },
    { chain: 'forward', expr: [from, match(meta('nfproto'), 'ipv6'), drop] },
    {
      chain: 'forward',
      expr: [to, redirected, match({ ct: { key: 'direction' } }, 'original'), jump('published')],
    },
    { chain: 'forward', expr: [to, established, accept] },
    { chain: 'forward', expr: [from, established, accept] },
    // What is bridged between neighbours comes here too: see bridge.ts.
    { chain: 'forward', expr: [from, jump('egress')] },
    { chain: 'forward', expr: [to, jump('ingress')] },
    { chain: 'forward', expr: [from, to, accept] },
    { chain: 'forward', expr: [to, redirected, accept] },
    { chain: 'forward', expr: [to, drop] },
    ...(s.internal ? [{ chain: 'forward' as const, expr: [from, drop] }] : []),
    ...ports.map(({ protocol, ipv4, guestPort }): Rule => {
      const target = [match(field('ip', 'daddr'), ipv4), match(field(protocol, 'dport'), guestPort)];
      return { chain: 'published', expr: [...target, { return: null }] };
    }),
    // A port that is published no more is closed to the connections that came by it: its address may be another guest's.
    { chain: 'published', expr: [drop] },
    ...groupRules(s),
    {
      chain: 'postrouting',
      expr: [
        match(field('ip', 'saddr'), ownSubnet),
        match(meta('oifname'), bridge, '!='),
        { masquerade: null },
      ],
    },
    // Neighbours, and the host by its loopback address: the answer must come back this way.
    ...[ownSubnet, loopback].map((source): Rule => {
      const near = match(field('ip', 'saddr'), source);
      return { chain: 'postrouting', expr: [to, redirected, near, { masquerade: null }] };
    }),
    ...(secondary.length === 0
      ? []
      : [
          {
            chain: 'postrouting' as const,
            expr: [to, redirected, match(field('ip', 'daddr'), set(secondary)), { masquerade: null }],
          },
        ]),
  ];
}

/** What comes to an address of the host, on a published port, goes to the guest. */
function publishing(chain: 'prerouting' | 'output', ports: readonly HostPort[]): Rule[] {
  if (ports.length === 0) return [];
  const elsewhere = match({ fib: { result: 'type', flags: ['daddr'] } }, 'local', '!=');
  return [
    { chain, expr: [elsewhere, accept] },
    ...ports.map(({ protocol, hostPort, ipv4, guestPort }) => ({
      chain,
      expr: [
        match(meta('nfproto'), 'ipv4'),
        match(field(protocol, 'dport'), hostPort),
        { dnat: { family: 'ip', addr: ipv4, port: guestPort } },
      ],
    })),
  ];
}

/** @throws NetworkError badSpec */
function portCheck(port: HostPort): HostPort {
  const { protocol, hostPort, guestPort } = port;
  for (const number of [hostPort, guestPort])
    if (!Number.isSafeInteger(number) || number < 1 || number > 65_535)
      throw badSpec(`not a port: ${JSON.stringify(number)}`);
  if (!['tcp', 'udp'].includes(protocol)) throw badSpec(`not a protocol: ${JSON.stringify(protocol)}`);
  return { protocol, hostPort, guestPort, ipv4: addressText(addressParse(port.ipv4)) };
}

/** The comment on each rule of a table: changes with the rules, so that a look tells whether they are the wanted ones. */
export function nftMark(s: NftSettings): string {
  return `berth ${hash(JSON.stringify(nftRules(s)), 16)}`;
}

/** Commands that put the table in place in one transaction, whatever was there before. */
export function nftApply(s: NftSettings): { readonly nftables: NftCommand[] } {
  const table = { family: 'inet', name: tableCheck(s.table) };
  const comment = nftMark(s);
  return {
    nftables: [
      { add: { table } }, // so that the deletion finds one
      { delete: { table } },
      { add: { table } },
      ...Object.entries(chains).map(([name, base]) => ({
        add: {
          chain: {
            family: 'inet',
            table: s.table,
            name,
            ...base,
            ...('hook' in base ? { policy: 'accept' } : {}),
          },
        },
      })),
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
