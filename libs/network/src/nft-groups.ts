import type { HostSecurityGroup, SecurityRule } from '@berth/model';
import { type Expression, field, match, meta, set } from './nft-words.js';
import { address6Text, addressParse, addressText, badSpec } from './subnet.js';

/** A nic of the network that is in security groups. */
export interface Member {
  readonly ipv4: string;
  /** Absent where the network has no IPv6. */
  readonly ipv6?: string | undefined;
  readonly groups: readonly string[];
}

export interface GroupSettings {
  readonly groups: readonly HostSecurityGroup[];
  readonly members: readonly Member[];
}

export interface GroupRule {
  readonly chain: SecurityRule['direction'];
  readonly expr: readonly Expression[];
}

const allow: Expression = { return: null };
const drop: Expression = { drop: null };

/** What the two versions call the same things. */
const versions = [
  { ip: 'ip', icmp: 'icmp', addressOf: ({ ipv4 }: Member) => [addressText(addressParse(ipv4))] },
  {
    ip: 'ip6',
    icmp: 'ipv6-icmp',
    addressOf: ({ ipv6 }: Member) => (ipv6 === undefined ? [] : [address6Text(ipv6)]),
  },
] as const;
type Version = (typeof versions)[number];

/**
 * Two chains for new connections, which end by a drop or go back to who asked: `egress` for what guests of the network begin,
 * `ingress` for what is begun with them. Members are known by their addresses, for which the guard vouches. Who is in no group is
 * in neither; a member may begin everything unless one of its groups has an egress rule.
 */
export function groupRules(settings: GroupSettings): readonly GroupRule[] {
  return (['egress', 'ingress'] as const).flatMap((chain) =>
    versions.flatMap((version) => versionRules(settings, chain, version)),
  );
}

function versionRules(
  { groups, members }: GroupSettings,
  chain: GroupRule['chain'],
  version: Version,
): GroupRule[] {
  const of = (name: string) => members.filter((m) => m.groups.includes(name)).flatMap(version.addressOf);
  const egress = new Set(
    groups.filter((g) => g.rules.some((r) => r.direction === 'egress')).map((g) => g.name),
  );
  const closes = (m: Member): boolean =>
    chain === 'ingress' ? m.groups.length > 0 : m.groups.some((name) => egress.has(name));
  const ends = members.filter(closes).flatMap(version.addressOf);
  if (ends.length === 0) return [];
  const own = field(version.ip, chain === 'ingress' ? 'daddr' : 'saddr');
  return [
    ...groups.flatMap(({ name, rules }) =>
      of(name).length === 0
        ? []
        : rules
            .filter((r) => r.direction === chain)
            .flatMap((r) =>
              peersMatch(r, version, of).map((peers) => [
                match(own, set(of(name))),
                ...peers,
                ...protocolMatch(r, version),
              ]),
            )
            .map((expr) => ({ chain, expr: [...expr, allow] })),
    ),
    { chain, expr: [match(own, set(ends)), drop] },
  ];
}

/**
 * The other end of a rule; nothing where it names a group without members, or a network of the other version.
 * @throws NetworkError badSpec
 */
function peersMatch(
  { direction, group, cidr }: SecurityRule,
  version: Version,
  members: (group: string) => readonly string[],
): Expression[][] {
  const address = field(version.ip, direction === 'ingress' ? 'saddr' : 'daddr');
  if (group !== undefined) return members(group).length === 0 ? [] : [[match(address, set(members(group)))]];
  if (cidr === undefined) return [[]];
  if (cidr.includes(':') !== (version.ip === 'ip6')) return [];
  const prefix = prefixOf(cidr, version);
  // Every address is in one of no bits.
  return prefix.len === 0 ? [[]] : [[match(address, { prefix })]];
}

/** @throws NetworkError badSpec */
function prefixOf(cidr: string, { ip }: Version): { readonly addr: string; readonly len: number } {
  const [, addr, len] = /^([0-9A-Fa-f.:]+)\/([0-9]{1,3})$/.exec(cidr) ?? [];
  if (addr === undefined || Number(len) > (ip === 'ip' ? 32 : 128))
    throw badSpec(`not a network: ${JSON.stringify(cidr)}`);
  return { addr: ip === 'ip' ? addressText(addressParse(addr)) : address6Text(addr), len: Number(len) };
}

/** @throws NetworkError badSpec */
function protocolMatch({ protocol, ports }: SecurityRule, { ip, icmp }: Version): Expression[] {
  if (protocol === undefined) return [];
  if (!['tcp', 'udp', 'icmp'].includes(protocol))
    throw badSpec(`not a protocol: ${JSON.stringify(protocol)}`);
  if (ports === undefined) {
    const name = protocol === 'icmp' ? icmp : protocol;
    // What an IPv6 header names may be an extension of it.
    return [match(ip === 'ip' ? field('ip', 'protocol') : meta('l4proto'), name)];
  }
  const { first, last } = ports;
  if (protocol === 'icmp') throw badSpec('icmp has no ports');
  for (const number of [first, last])
    if (!Number.isSafeInteger(number) || number < 1 || number > 65_535)
      throw badSpec(`not a port: ${JSON.stringify(number)}`);
  // A range of one is none to nft.
  return [match(field(protocol, 'dport'), first === last ? first : { range: [first, last] })];
}
