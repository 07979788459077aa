import { ifnameCheck } from '@berth/linux';
import type { HostPort } from '@berth/model';
import { hash } from './network-names.js';
import { groupRules, type GroupSettings } from './nft-groups.js';
import { type Expression, field, match, meta, type NftCommand, set, tableCheck } from './nft-words.js';
import { address6Text, addressParse, addressText, badSpec, type Subnet, type Subnet6 } from './subnet.js';

export interface NftSettings extends GroupSettings {
  readonly table: string;
  readonly bridge: string;
  readonly subnet: Subnet;
  readonly gateway: string;
  /** Null where the network has none. */
  readonly ipv6: { readonly subnet: Subnet6; readonly gateway: string } | null;
  readonly ports: readonly HostPort[];
  /** Guests whose way out is another network: they answer the world only where the gateway asks in its place. */
  readonly secondary: readonly { readonly ipv4: string; readonly ipv6?: string | undefined }[];
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
const linkLocal = { prefix: { addr: 'fe80::', len: 10 } };
const version6 = match(meta('nfproto'), 'ipv6');
/** Neighbour discovery (RFC 4861) and multicast membership (RFC 3810), without which there is no IPv6 on a link. */
const neighbourly = match(
  field('icmpv6', 'type'),
  set([
    ...['nd-neighbor-solicit', 'nd-neighbor-advert', 'nd-router-solicit'],
    ...['mld-listener-report', 'mld-listener-done', 'mld2-listener-report'],
  ]),
);
/** Of a connection whose target was changed, by whichever table. */
const redirected = match({ ct: { key: 'status' } }, 'dnat', 'in');

/** What a network is called in the words of one IP version. */
interface Version {
  readonly ip: 'ip' | 'ip6';
  readonly gateway: string;
  /** All addresses of the network. */
  readonly subnet: Expression;
  readonly secondary: readonly string[];
}

function versionsOf(s: NftSettings): Version[] {
  const prefix = (addr: string, len: number) => ({ prefix: { addr, len } });
  const four = {
    ip: 'ip' as const,
    gateway: addressText(addressParse(s.gateway)),
    subnet: prefix(s.subnet.network, s.subnet.prefix),
    secondary: s.secondary.map(({ ipv4 }) => addressText(addressParse(ipv4))),
  };
  if (s.ipv6 === null) return [four];
  const six = {
    ip: 'ip6' as const,
    gateway: address6Text(s.ipv6.gateway),
    subnet: prefix(address6Text(s.ipv6.subnet.network), s.ipv6.subnet.prefix),
    secondary: s.secondary.flatMap(({ ipv6 }) => (ipv6 === undefined ? [] : [address6Text(ipv6)])),
  };
  return [four, six];
}

/**
 * The table of one network, whole: what a guest may reach on this host (DHCP, DNS, ping to its gateway, neighbour discovery), that
 * nothing but answers and published ports is forwarded to it from other networks, what its security groups say, that it sends with
 * addresses of its own subnet, and the masquerading of what leaves. An accept here ends only our own chain: other tables (Docker's, an administrator's)
 * still have their say.
 */
export function nftRules(s: NftSettings): readonly Rule[] {
  const bridge = ifnameCheck(s.bridge);
  const from = match(meta('iifname'), bridge);
  const to = match(meta('oifname'), bridge);
  const ports = s.ports.map(portCheck);
  const versions = versionsOf(s);
  return [
    // With published ports the bridge routes 127.0.0.0/8, for the host's own programs: never for a guest.
    { chain: 'raw', expr: [from, match(field('ip', 'daddr'), loopback), drop] },
    { chain: 'raw', expr: [from, match(field('ip', 'saddr'), loopback), drop] },
    ...publishing('prerouting', ports),
    ...publishing('output', ports),
    { chain: 'input', expr: [match(meta('iifname'), bridge, '!='), accept] },
    { chain: 'input', expr: [established, accept] },
    ...versions.flatMap(inputRules),
    { chain: 'input', expr: [drop] },
    // Between neighbours: see bridge.ts. The guard has looked at it, and it has no connection.
    ...(s.ipv6 === null ? [] : [{ chain: 'forward' as const, expr: [from, to, neighbourly, accept] }]),
    ...versions.map(({ ip, subnet }): Rule => {
      return { chain: 'forward', expr: [from, match(field(ip, 'saddr'), subnet, '!='), drop] };
    }),
    ...(s.ipv6 !== null ? [] : [{ chain: 'forward' as const, expr: [from, version6, drop] }]),
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
    ...ports.flatMap(({ protocol, guestPort, ...port }) =>
      targetsOf(port).map(({ ip, addr }): Rule => {
        const target = [match(field(ip, 'daddr'), addr), match(field(protocol, 'dport'), guestPort)];
        return { chain: 'published', expr: [...target, { return: null }] };
      }),
    ),
    // A port that is published no more is closed to the connections that came by it: its address may be another guest's.
    { chain: 'published', expr: [drop] },
    ...groupRules(s),
    ...versions.flatMap((version) => masquerading(version, bridge)),
  ];
}

/** What guests may ask of this host. */
function inputRules({ ip, gateway }: Version): Rule[] {
  const toGateway = match(field(ip, 'daddr'), gateway);
  const dns = (['udp', 'tcp'] as const).map((protocol) => [toGateway, match(field(protocol, 'dport'), 53)]);
  const own =
    ip === 'ip'
      ? [
          [match(field('ip', 'daddr'), set([gateway, '255.255.255.255'])), match(field('udp', 'dport'), 67)],
          ...dns,
          [toGateway, match(field('icmp', 'type'), 'echo-request')],
        ]
      : [
          [neighbourly],
          [match(field('ip6', 'saddr'), linkLocal), match(field('udp', 'dport'), 547)],
          ...dns,
          [toGateway, match(field('icmpv6', 'type'), 'echo-request')],
        ];
  return own.map((expr) => ({ chain: 'input', expr: [...expr, accept] }));
}

/** What leaves, and what must be answered by the way it came. */
function masquerading({ ip, subnet, secondary }: Version, bridge: string): Rule[] {
  const source = (of: Expression) => match(field(ip, 'saddr'), of);
  const to = match(meta('oifname'), bridge);
  const masquerade: Expression = { masquerade: null };
  const rule = (...expr: Expression[]): Rule => ({ chain: 'postrouting', expr: [...expr, masquerade] });
  // Neighbours, and the host by its loopback address, which IPv6 does not carry elsewhere.
  const near = ip === 'ip' ? [subnet, loopback] : [subnet];
  return [
    rule(source(subnet), match(meta('oifname'), bridge, '!=')),
    ...near.map((of) => rule(to, redirected, source(of))),
    ...(secondary.length === 0 ? [] : [rule(to, redirected, match(field(ip, 'daddr'), set(secondary)))]),
  ];
}

/** Addresses of the guest that a port leads to. */
function targetsOf({ ipv4, ipv6 }: Pick<HostPort, 'ipv4' | 'ipv6'>) {
  const four = { ip: 'ip' as const, nfproto: 'ipv4', addr: ipv4 };
  return ipv6 === undefined ? [four] : [four, { ip: 'ip6' as const, nfproto: 'ipv6', addr: ipv6 }];
}

/** What comes to an address of the host, on a published port, goes to the guest. */
function publishing(chain: 'prerouting' | 'output', ports: readonly HostPort[]): Rule[] {
  if (ports.length === 0) return [];
  const elsewhere = match({ fib: { result: 'type', flags: ['daddr'] } }, 'local', '!=');
  const six = ports.some(({ ipv6 }) => ipv6 !== undefined);
  return [
    { chain, expr: [elsewhere, accept] },
    // No link but lo carries ::1: it is refused at once, and not led into nowhere.
    ...(six && chain === 'output' ? [{ chain, expr: [match(field('ip6', 'daddr'), '::1'), accept] }] : []),
    ...ports.flatMap(({ protocol, hostPort, guestPort, ...port }) =>
      targetsOf(port).map(({ ip, nfproto, addr }) => ({
        chain,
        expr: [
          match(meta('nfproto'), nfproto),
          match(field(protocol, 'dport'), hostPort),
          { dnat: { family: ip, addr, port: guestPort } },
        ],
      })),
    ),
  ];
}

/** @throws NetworkError badSpec */
function portCheck(port: HostPort): HostPort {
  const { protocol, hostPort, guestPort } = port;
  for (const number of [hostPort, guestPort])
    if (!Number.isSafeInteger(number) || number < 1 || number > 65_535)
      throw badSpec(`not a port: ${JSON.stringify(number)}`);
  if (!['tcp', 'udp'].includes(protocol)) throw badSpec(`not a protocol: ${JSON.stringify(protocol)}`);
  return {
    protocol,
    hostPort,
    guestPort,
    ipv4: addressText(addressParse(port.ipv4)),
    ...(port.ipv6 === undefined ? {} : { ipv6: address6Text(port.ipv6) }),
  };
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
