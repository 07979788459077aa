import { bad, ok, type Check } from './check.js';

/** What the kernel does with IPv6. */
export interface Ipv6Findings {
  /** Why networks here have no IPv6, and what to do about it; null where they may. */
  readonly missing: { readonly reason: string; readonly remedy: string } | null;
  readonly forwards: boolean;
  /** Berth's bridges that have it now. */
  readonly bridges: readonly string[];
  /** The link of the default route, where it would hear routers only if the host did not forward (`accept_ra` 1). */
  readonly deafUplink: string | null;
}

export function ipv6Checks(f: Ipv6Findings): Check[] {
  const { missing, bridges, deafUplink } = f;
  if (missing !== null)
    return [
      bad(
        'note',
        'ipv6',
        `${missing.reason}: instances on networks with IPv6 do not come here`,
        missing.remedy,
      ),
    ];
  if (bridges.length > 0 && !f.forwards)
    return [
      bad(
        'warn',
        'ipv6',
        `forwarding was turned off: guests on ${bridges.join(', ')} have no way out`,
        'sysctl -w net.ipv6.conf.all.forwarding=1',
      ),
    ];
  if (f.forwards && deafUplink !== null)
    return [
      bad(
        'note',
        'ipv6',
        `the host forwards, and so ${deafUplink} does not hear its router any more`,
        `sysctl -w net.ipv6.conf.${deafUplink}.accept_ra=2; or state address and route of ${deafUplink}`,
      ),
    ];
  return [ok('ipv6', f.forwards ? 'forwards' : 'there; forwarding comes with the first network that has it')];
}
