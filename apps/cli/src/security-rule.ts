import type { Schemas } from '@berth/client';
import { exitCodes, Failure } from './failure.js';

type Rule = Schemas['SecurityGroup']['rules'][number];

/** `tcp:80`, `udp:5000-5010@10.0.0.0/8`, `icmp`, `any@group:web`. @throws Failure */
export function ruleOf(direction: Rule['direction'], text: string): Rule {
  const found = /^(tcp|udp|icmp|any)(?::(\d{1,5})(?:-(\d{1,5}))?)?(?:@(.+))?$/.exec(text);
  if (found === null)
    throw new Failure(
      `"${text}" is no rule\n  -> Write protocol:ports@peer, as in tcp:80, udp:5000-5010@10.0.0.0/8, tcp:22@fd00::/8, icmp or any@group:web`,
      exitCodes.usage,
    );
  const [, protocol, first, last, peer] = found;
  const group = peer?.startsWith('group:') === true ? peer.slice('group:'.length) : undefined;
  return {
    direction,
    ...(protocol === 'any' ? {} : { protocol: protocol as NonNullable<Rule['protocol']> }),
    ...(first === undefined ? {} : { ports: { first: Number(first), last: Number(last ?? first) } }),
    ...(group !== undefined ? { group } : peer === undefined ? {} : { cidr: peer }),
  };
}

/** As {@link ruleOf} reads it. */
export function ruleText({ protocol, ports, cidr, group }: Rule): string {
  const range =
    ports === undefined
      ? ''
      : ports.first === ports.last
        ? `:${ports.first}`
        : `:${ports.first}-${ports.last}`;
  const peer = group === undefined ? (cidr === undefined ? '' : `@${cidr}`) : `@group:${group}`;
  return `${protocol ?? 'any'}${range}${peer}`;
}
