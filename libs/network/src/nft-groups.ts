import type { HostSecurityGroup, SecurityRule } from '@berth/model';
import { type Expression, field, match, set } from './nft-words.js';
import { addressParse, addressText, badSpec } from './subnet.js';

/** An address of the network that is in security groups. */
export interface Member {
  readonly ipv4: string;
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

/**
 * Two chains for new connections, which end by a drop or go back to who asked: `egress` for what guests of the network begin,
 * `ingress` for what is begun with them. Members are known by their address, for which the guard vouches. Who is in no group is
 * in neither; a member may begin everything unless one of its groups has an egress rule.
 */
export function groupRules({ groups, members }: GroupSettings): readonly GroupRule[] {
  const all = members.map(({ ipv4, groups: of }) => ({ ipv4: addressText(addressParse(ipv4)), groups: of }));
  const of = (name: string) => all.filter((m) => m.groups.includes(name)).map((m) => m.ipv4);
  const egress = new Set(
    groups.filter((g) => g.rules.some((r) => r.direction === 'egress')).map((g) => g.name),
  );
  const closed = {
    egress: all.filter((m) => m.groups.some((name) => egress.has(name))),
    ingress: all.filter((m) => m.groups.length > 0),
  };
  return (['egress', 'ingress'] as const).flatMap((chain) => {
    const own = field('ip', chain === 'ingress' ? 'daddr' : 'saddr');
    const ends = closed[chain].map((m) => m.ipv4);
    if (ends.length === 0) return [];
    return [
      ...groups.flatMap(({ name, rules }) =>
        of(name).length === 0
          ? []
          : rules
              .filter((r) => r.direction === chain)
              .flatMap((r) =>
                peersMatch(r, of).map((peers) => [match(own, set(of(name))), ...peers, ...protocolMatch(r)]),
              )
              .map((expr) => ({ chain, expr: [...expr, allow] })),
      ),
      { chain, expr: [match(own, set(ends)), drop] },
    ];
  });
}

/** The other end of a rule; nothing where it names a group without members. @throws NetworkError badSpec */
function peersMatch(
  { direction, group, cidr }: SecurityRule,
  members: (group: string) => readonly string[],
): Expression[][] {
  const address = field('ip', direction === 'ingress' ? 'saddr' : 'daddr');
  if (group !== undefined) return members(group).length === 0 ? [] : [[match(address, set(members(group)))]];
  if (cidr === undefined) return [[]];
  const [, addr, len] = /^([0-9.]+)\/([0-9]{1,2})$/.exec(cidr) ?? [];
  if (addr === undefined || Number(len) > 32) throw badSpec(`not a network: ${JSON.stringify(cidr)}`);
  const prefix = { addr: addressText(addressParse(addr)), len: Number(len) };
  // Every address is in one of no bits.
  return prefix.len === 0 ? [[]] : [[match(address, { prefix })]];
}

/** @throws NetworkError badSpec */
function protocolMatch({ protocol, ports }: SecurityRule): Expression[] {
  if (protocol === undefined) return [];
  if (!['tcp', 'udp', 'icmp'].includes(protocol))
    throw badSpec(`not a protocol: ${JSON.stringify(protocol)}`);
  if (ports === undefined) return [match(field('ip', 'protocol'), protocol)];
  const { first, last } = ports;
  if (protocol === 'icmp') throw badSpec('icmp has no ports');
  for (const number of [first, last])
    if (!Number.isSafeInteger(number) || number < 1 || number > 65_535)
      throw badSpec(`not a port: ${JSON.stringify(number)}`);
  // A range of one is none to nft.
  return [match(field(protocol, 'dport'), first === last ? first : { range: [first, last] })];
}
