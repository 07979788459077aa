import { bad, ok, type Check } from './check.js';
import { ipv6Checks, type Ipv6Findings } from './ipv6.js';

/** What stands at the kernel's forward hook beside Berth's own tables. */
export interface ForwardingFindings {
  readonly ipForward: boolean;
  /** br_netfilter is there: Berth's bridges show what they carry to the firewall, whatever `bridge-nf-call-iptables` says of others. */
  readonly bridgeNfCall: boolean;
  /** What Berth's bridges are called: this, and more. */
  readonly bridgePrefix: string;
  /** Berth's bridges that are there now. */
  readonly bridges: readonly string[];
  /** The link of the default route. */
  readonly uplink: string | null;
  /** `iptables -S`, and `ip6tables -S`, of each back end that holds rules. */
  readonly iptables: readonly { readonly command: string; readonly rules: readonly string[] }[];
  /** Chains of other nftables tables at that hook that drop by default. */
  readonly nftDrops: readonly NftChain[];
  readonly ipv6: Ipv6Findings;
}

export interface NftChain {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  /** Interface names in rules that accept, with `*` for any rest. */
  readonly acceptsFrom: readonly string[];
  readonly acceptsTo: readonly string[];
}

interface Packet {
  readonly in: string;
  readonly out: string;
  readonly reply: boolean;
}

/**
 * Whether packets of guests pass the firewalls of others. Docker makes iptables' FORWARD drop by default when it turns
 * forwarding on, and keeps DOCKER-USER for the administrator's rules; an accept in Berth's own tables cannot overrule that.
 */
export function forwardingChecks(f: ForwardingFindings): Check[] {
  return [
    f.ipForward
      ? ok('ip_forward', 'on')
      : bad(
          'warn',
          'ip_forward',
          'off',
          'Berth turns it on when the first network is made; keep it: sysctl -w net.ipv4.ip_forward=1',
        ),
    forwardCheck(f),
    ...ipv6Checks(f.ipv6),
  ];
}

function forwardCheck(f: ForwardingFindings): Check {
  const bridges = f.bridges.length > 0 ? f.bridges : [`${f.bridgePrefix}0`];
  const packets = bridges.flatMap((bridge) => packetsOf(bridge, f));
  const blocked = f.iptables.flatMap(({ command, rules }) => {
    const lost = packets.filter(({ packet }) => !passes(rules, packet)).map(({ what }) => what);
    return lost.length === 0 ? [] : [{ command, rules, lost: [...new Set(lost)] }];
  });
  const closed = f.nftDrops.filter(
    (c) => !bridges.every((b) => covers(c.acceptsFrom, b) && covers(c.acceptsTo, b)),
  );
  if (blocked.length === 0 && closed.length === 0) return ok('forwarding', 'nothing stands in the way');
  const found = [
    ...blocked.map((b) => `${b.command}: FORWARD drops ${b.lost.join(' and ')}`),
    ...closed.map((c) => `nftables: ${c.family} ${c.table} ${c.chain} drops by default`),
  ];
  const commands = [
    ...blocked.flatMap((b) => iptablesRemedy(b.command, b.rules, f.bridgePrefix)),
    ...closed.flatMap((c) => nftRemedy(c, f.bridgePrefix)),
  ];
  return bad('warn', 'forwarding', found.join('; '), commands.join(' && '));
}

function packetsOf(bridge: string, f: ForwardingFindings): { what: string; packet: Packet }[] {
  const uplink = f.uplink ?? 'eth0';
  return [
    { what: 'what guests send out', packet: { in: bridge, out: uplink, reply: false } },
    { what: 'the answers', packet: { in: uplink, out: bridge, reply: true } },
    ...(f.bridgeNfCall
      ? [{ what: 'what neighbours send each other', packet: { in: bridge, out: bridge, reply: false } }]
      : []),
  ];
}

function iptablesRemedy(command: string, rules: readonly string[], prefix: string): string[] {
  const chain = rules.includes('-N DOCKER-USER') ? 'DOCKER-USER' : 'FORWARD';
  return ['-i', '-o'].map((side) => `${command} -I ${chain} ${side} ${prefix}+ -j ACCEPT`);
}

function nftRemedy({ family, table, chain }: NftChain, prefix: string): string[] {
  return ['iifname', 'oifname'].map(
    (side) => `nft insert rule ${family} ${table} ${chain} ${side} '"${prefix}*"' accept`,
  );
}

function covers(patterns: readonly string[], name: string): boolean {
  return patterns.some((p) => (p.endsWith('*') ? name.startsWith(p.slice(0, -1)) : p === name));
}

/** Follows a packet through FORWARD as `iptables -S` shows it. */
function passes(rules: readonly string[], packet: Packet): boolean {
  const end = walk(rules.map(ruleParse), 'FORWARD', packet, 0);
  return end === null ? !rules.includes('-P FORWARD DROP') : end === 'ACCEPT';
}

const DEPTH_MAX = 16;

/** The verdict of a chain, null where it says nothing. */
function walk(
  rules: readonly Rule[],
  chain: string,
  packet: Packet,
  depth: number,
): 'ACCEPT' | 'DROP' | null {
  if (depth > DEPTH_MAX) return null;
  for (const rule of rules) {
    if (rule.chain !== chain || !matches(rule, packet)) continue;
    if (rule.target === 'RETURN') return null;
    if (rule.target === 'ACCEPT') return 'ACCEPT';
    if (rule.target === 'DROP' || rule.target === 'REJECT') return 'DROP';
    const inner = walk(rules, rule.target, packet, depth + 1);
    if (inner !== null || rule.goto) return inner;
  }
  return null;
}

interface Rule {
  readonly chain: string;
  readonly target: string;
  readonly goto: boolean;
  readonly interfaces: readonly {
    readonly side: 'in' | 'out';
    readonly pattern: string;
    readonly not: boolean;
  }[];
  /** It looks at the state of the connection, and answers are among the states. */
  readonly replies: boolean | null;
  /** It looks at something else: whether it matches all packets cannot be told. */
  readonly narrow: boolean;
}

/** A rule that asks for more than is known of the packet is taken not to match: neither to help nor to harm all guests. */
function matches(rule: Rule, packet: Packet): boolean {
  if (rule.narrow || rule.chain === '') return false;
  if (rule.replies !== null && !(rule.replies && packet.reply)) return false;
  return rule.interfaces.every(({ side, pattern, not }) => {
    const name = packet[side];
    const hit = pattern.endsWith('+') ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
    return hit !== not;
  });
}

/** Reads a line of `iptables -S` (iptables(8)): `-A CHAIN [! -i NAME] … -j TARGET`. */
function ruleParse(line: string): Rule {
  const words = line.match(/"(?:[^"\\]|\\.)*"|\S+/g) ?? [];
  const rule = {
    ...{ chain: '', target: '', goto: false, replies: null as boolean | null, narrow: false },
    interfaces: [] as { side: 'in' | 'out'; pattern: string; not: boolean }[],
  };
  for (let at = 0, not = false; at < words.length; at += 1) {
    const word = words[at]!;
    const value = words[at + 1] ?? '';
    if (word === '!') {
      not = true;
      continue;
    }
    if (word === '-A') rule.chain = value;
    else if (word === '-i' || word === '-o')
      rule.interfaces.push({ side: word === '-i' ? 'in' : 'out', pattern: value, not });
    else if (word === '-j' || word === '-g') [rule.target, rule.goto] = [value, word === '-g'];
    else if (word === '--ctstate' || word === '--state')
      rule.replies = value.split(',').includes('ESTABLISHED') !== not;
    else if (!['-m', '--comment', '--reject-with'].includes(word)) rule.narrow = true;
    at += 1;
    not = false;
  }
  if (rule.target === '') rule.narrow = true;
  return rule;
}
