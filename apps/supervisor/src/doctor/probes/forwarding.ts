import { run } from '@berth/linux';
import { BRIDGE_PREFIX, ipv6Missing } from '@berth/network';
import type { ForwardingFindings, NftChain } from '../forwarding.js';
import type { Ipv6Findings } from '../ipv6.js';
import { read } from './attempt.js';

/** Reads the firewalls of this network namespace; loads no module and adds no table. */
export async function forwardingFindings(): Promise<ForwardingFindings> {
  const nfCall = read('/proc/sys/net/bridge/bridge-nf-call-iptables');
  const [iptables, nftDrops, bridges, uplink] = await Promise.all([
    iptablesRules(),
    nftForwardDrops(),
    linkNames(['link', 'show', 'type', 'bridge']),
    linkNames(['route', 'show', 'default']),
  ]);
  const own = bridges.filter((name) => name.startsWith(BRIDGE_PREFIX));
  return {
    ipForward: read('/proc/sys/net/ipv4/ip_forward')?.trim() === '1',
    bridgeNfCall: nfCall !== null,
    bridgePrefix: BRIDGE_PREFIX,
    bridges: own,
    uplink: uplink[0] ?? null,
    iptables,
    nftDrops,
    ipv6: ipv6Findings(own, uplink[0] ?? null),
  };
}

function ipv6Findings(bridges: readonly string[], uplink: string | null): Ipv6Findings {
  const setting = (link: string, name: string): string | undefined =>
    read(`/proc/sys/net/ipv6/conf/${link}/${name}`)?.trim();
  return {
    missing: ipv6Missing(),
    forwards: setting('all', 'forwarding') === '1',
    bridges: bridges.filter((name) => setting(name, 'disable_ipv6') === '0'),
    deafUplink: uplink !== null && setting(uplink, 'accept_ra') === '1' ? uplink : null,
  };
}

/** Both back ends can hold rules at the same time, and a packet must pass both. */
async function iptablesRules(): Promise<ForwardingFindings['iptables']> {
  const commands = ['ip', 'ip6'].flatMap((ip) => {
    const legacy = (read(`/proc/net/${ip}_tables_names`) ?? '').split('\n').includes('filter');
    return [`${ip}tables-nft`, ...(legacy ? [`${ip}tables-legacy`] : [])];
  });
  const listed = await Promise.all(
    commands.map(async (command) => ({ command, rules: await lines(command, ['-S']) })),
  );
  return listed.filter(({ rules }) => rules.length > 0);
}

interface NftListing {
  readonly nftables?: readonly {
    readonly chain?: { family: string; table: string; name: string; hook?: string; policy?: string };
    readonly rule?: { family: string; table: string; chain: string; expr: readonly NftExpression[] };
  }[];
}
interface NftExpression {
  readonly accept?: null;
  readonly match?: { readonly op: string; readonly left: unknown; readonly right: unknown };
  readonly counter?: unknown;
}

async function nftForwardDrops(): Promise<NftChain[]> {
  const text = (await lines('nft', ['-j', 'list', 'ruleset'])).join('\n');
  const entries = text === '' ? [] : ((JSON.parse(text) as NftListing).nftables ?? []);
  const rules = entries.flatMap((e) => (e.rule === undefined ? [] : [e.rule]));
  return (
    entries
      .flatMap((e) => (e.chain === undefined ? [] : [e.chain]))
      .filter((c) => c.hook === 'forward' && c.policy === 'drop' && ['ip', 'ip6', 'inet'].includes(c.family))
      // What iptables-nft and ip6tables-nft manage is read as iptables.
      .filter((c) => !(c.family !== 'inet' && c.table === 'filter' && c.name === 'FORWARD'))
      .map(({ family, table, name }) => {
        const own = rules.filter((r) => r.family === family && r.table === table && r.chain === name);
        const accepted = (key: string): string[] => own.flatMap((r) => acceptedName(r.expr, key));
        return {
          family,
          table,
          chain: name,
          acceptsFrom: accepted('iifname'),
          acceptsTo: accepted('oifname'),
        };
      })
  );
}

/** The name in a rule that is nothing but "this interface: accept". */
function acceptedName(expressions: readonly NftExpression[], key: string): string[] {
  const [match, accept, ...more] = expressions.filter((e) => e.counter === undefined);
  if (more.length > 0 || accept?.accept !== null || match?.match === undefined) return [];
  const { op, left, right } = match.match;
  const named = (left as { meta?: { key?: string } }).meta?.key === key;
  return named && op === '==' && typeof right === 'string' ? [right] : [];
}

async function linkNames(args: readonly string[]): Promise<string[]> {
  const text = (await lines('ip', ['-json', ...args])).join('\n');
  const all = text === '' ? [] : (JSON.parse(text) as { ifname?: string; dev?: string }[]);
  return all.flatMap((one) => one.ifname ?? one.dev ?? []);
}

/** What a command prints; nothing where it is not installed or refuses. */
async function lines(command: string, args: readonly string[]): Promise<string[]> {
  const { stdout } = await run(command, args, { timeoutMs: 10_000 }).catch(() => ({ stdout: '' }));
  return stdout.split('\n').filter((line) => line !== '');
}
