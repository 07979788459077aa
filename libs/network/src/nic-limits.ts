import { hasCode, Netlink, type Side, type TokenBucket } from '@berth/linux';
import type { NicLimits } from '@berth/model';
import { ipv6Disable } from './ipv6-host.js';
import { NetworkError } from './network-error.js';
import type { NetworkNames, NicIdentity } from './network-names.js';

/** A nic whose link is there, and what may pass it. */
export interface LimitedNic {
  readonly nic: NicIdentity;
  /** The host's end. */
  readonly link: string;
  readonly limits: NicLimits;
}

/** What the guest gets is what the host's end sends. */
const directions = [
  { direction: 'ingress', side: 'sent', limit: 'ingressMbps' },
  { direction: 'egress', side: 'received', limit: 'egressMbps' },
] as const satisfies readonly { direction: LimitDirection; side: Side; limit: keyof NicLimits }[];

/** Of what passes a nic, as its guest sees it. */
export type LimitDirection = 'ingress' | 'egress';

/**
 * A bucket for a rate: 20 ms of it pass at once, at least ten large frames; and what comes on top waits for at most about 100 ms,
 * or as long as a whole segment that a guest hands over in one piece takes. What cannot wait is dropped, by which TCP finds the rate.
 */
export function bucketOf(mbps: number): TokenBucket {
  const rate = mbps * 125_000;
  return { rate, burst: Math.max(16_384, rate / 50), queue: Math.max(81_920, rate / 10) };
}

/**
 * Brings the limits of nics to what they should be. In each direction that is limited the host's end leads what passes it
 * through a link of its own (ifb), at which a token bucket stands; the hooks for it are beside the queue of the nic, which libvirt sets as
 * it likes. What is in place is left alone, so that what waits is not lost. A nic that has gone meanwhile is passed over.
 * Synchronous; returns the links that are needed no more, for the caller to delete. @throws NetworkError limitsFailed
 */
export function nicsLimit(names: NetworkNames, nics: readonly LimitedNic[], mtu: number): string[] {
  return Netlink.with(undefined, (netlink) =>
    nics.flatMap((one) => {
      try {
        return nicLimit(netlink, names, one, mtu);
      } catch (error) {
        if (hasCode(error, 'ENODEV') && netlink.link(one.link) === null) return [];
        throw failed(error);
      }
    }),
  );
}

function nicLimit(
  netlink: Netlink,
  names: NetworkNames,
  { nic, link, limits }: LimitedNic,
  mtu: number,
): string[] {
  const unused: string[] = [];
  for (const { direction, side, limit } of directions) {
    const through = names.limiter(nic, direction);
    const mbps = limits[limit];
    if (mbps !== undefined) {
      const index = limiterEnsure(netlink, through, names.limiterAlias(nic, direction), { mbps, mtu });
      if (netlink.redirected(link, side) !== index) netlink.redirect(link, side, through);
    } else if (netlink.link(through) !== null) {
      netlink.stopRedirecting(link, side);
      unused.push(through);
    }
  }
  if (unused.length > 0 && Object.keys(limits).length === 0) netlink.deleteHooks(link);
  return unused;
}

/** Index of the link with the bucket. It gets its alias last: one without was left by an agent that died, and is made anew. */
function limiterEnsure(
  netlink: Netlink,
  name: string,
  alias: string,
  { mbps, mtu }: { readonly mbps: number; readonly mtu: number },
): number {
  const bucket = bucketOf(mbps);
  const there = netlink.link(name);
  if (there !== null && there.alias !== null && there.alias !== alias)
    throw new NetworkError('nameTaken', `link ${name} belongs to ${there.alias}`, `remove link ${name}`);
  if (there?.alias === alias && there.up) {
    const has = netlink.queues().find((q) => q.linkIndex === there.index)?.bucket;
    if (has?.rate !== bucket.rate || has.queue !== bucket.queue) netlink.setBucket(name, bucket);
    return there.index;
  }
  if (there !== null) netlink.deleteLink(name);
  netlink.addIfb(name, { mtu });
  ipv6Disable(name);
  netlink.setBucket(name, bucket);
  netlink.setLink(name, { alias, up: true });
  const made = netlink.link(name);
  if (made === null) throw new Error(`link ${name} vanished while it was made`);
  return made.index;
}

function failed(error: unknown): unknown {
  if (error instanceof NetworkError || error instanceof RangeError) return error;
  return new NetworkError(
    'limitsFailed',
    `the limits of a nic cannot be set: ${error instanceof Error ? error.message : String(error)}`,
    'load the kernel modules ifb, sch_tbf, sch_ingress, cls_u32 and act_mirred, or take the limits away',
    error,
  );
}
