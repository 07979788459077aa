import { z } from 'zod';
import { Name, NetworkId } from './ids.js';
import { NetworkCidr6OrAuto } from './ipv6.js';
import { HostPort } from './published-port.js';
import { HostSecurityGroup, Ipv4Cidr } from './security-group.js';

/** Ranges that nobody routes in the world (RFC 1918). */
const privateRanges = [
  { first: 0x0a_00_00_00, size: 2 ** 24 },
  { first: 0xac_10_00_00, size: 2 ** 20 },
  { first: 0xc0_a8_00_00, size: 2 ** 16 },
] as const;

/** An IPv4 address as a number, or that of a network. */
export function ipv4Number(text: string): number {
  const [address = ''] = text.split('/');
  return address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}

const ipv4Text = (number: number): string =>
  [24, 16, 8, 0].map((shift) => Math.floor(number / 2 ** shift) % 256).join('.');

/** The addresses that guests of a network may have: all but its own, the gateway's (the first) and broadcast. */
export function guestAddresses(cidr: string): { readonly first: string; readonly last: string } {
  const number = ipv4Number(cidr);
  const size = 2 ** (32 - Number(cidr.split('/')[1]));
  return { first: ipv4Text(number + 2), last: ipv4Text(number + size - 2) };
}

/** The subnet of a network: private, and of a size that a host can carry. */
export const NetworkCidr = Ipv4Cidr.superRefine((text, ctx) => {
  if (!Ipv4Cidr.safeParse(text).success) return; // that has been said
  const refuse = (message: string): void => ctx.addIssue({ code: 'custom', message });
  const prefix = Number(text.split('/')[1]);
  const number = ipv4Number(text);
  if (prefix < 16 || prefix > 29) refuse('must have a prefix of 16 to 29 bits: 10.1.2.0/24');
  else if (!privateRanges.some(({ first, size }) => number >= first && number < first + size))
    refuse('must be private: in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16');
});

export const Network = z
  .strictObject({
    id: NetworkId,
    project: Name,
    name: Name,
    /** `host`: one bridge per host, addresses unique in the project, traffic between hosts not carried. */
    scope: z.enum(['host', 'cluster']),
    /** IPv4 subnet in CIDR notation; the first address is the gateway, also DHCP and DNS server. */
    cidr: z.string(),
    gateway: z.string(),
    /** Its IPv6 prefix, in canonical text; null: its guests have IPv4 only. */
    ipv6Cidr: z.string().nullable(),
    /** The first address of the prefix; null where there is none. */
    ipv6Gateway: z.string().nullable(),
    /** Without a way out: its guests begin connections among each other only, and resolve no names but their own. */
    internal: z.boolean(),
    resourceVersion: z.int(),
    createdAt: z.iso.datetime(),
  })
  .meta({ id: 'Network' });
export type Network = z.infer<typeof Network>;

/** A network that a user makes. */
export const NetworkCreate = z
  .strictObject({
    name: Name,
    /** Private, and apart from every other network. Absent: the lowest free /24 of those that the API was given. */
    cidr: NetworkCidr.optional(),
    /**
     * An IPv6 prefix of 64 to 112 bits, unique local or global, and apart from every other network; `auto`: the lowest free /64 of those that
     * the API was given. Absent: IPv4 only. For its life.
     */
    ipv6Cidr: NetworkCidr6OrAuto.optional(),
    /** Without a way out: no NAT, no names of the world. What its guests publish is reached. Absent: false. For its life. */
    internal: z.boolean().optional(),
  })
  .meta({ id: 'NetworkCreate' });
export type NetworkCreate = z.infer<typeof NetworkCreate>;

const mbps = z.int().min(1).max(100_000);

/**
 * Most that passes a nic, in megabits (10^6) per second, as its guest sees it; absent: all. What is more waits up to some 100 ms
 * and is dropped then.
 */
export const NicLimits = z.strictObject({
  /** What the guest receives. */
  ingressMbps: mbps.optional(),
  /** What the guest sends. */
  egressMbps: mbps.optional(),
});
export type NicLimits = z.infer<typeof NicLimits>;

/** A network as a host realises it. */
export const HostNetworkSpec = z.strictObject({
  id: NetworkId,
  project: Name,
  name: Name,
  cidr: z.string(),
  gateway: z.string(),
  /** Its IPv6 prefix and the first address of it; absent where it has none. Only for hosts with the facet `ipv6`. */
  ipv6: z.strictObject({ cidr: z.string(), gateway: z.string() }).optional(),
  /** Without a way out; absent where there is one. */
  internal: z.literal(true).optional(),
  /** Rises with the leases. A host ignores leases older than those it has; without it leases are only added. */
  revision: z.int().nonnegative().optional(),
  /** Every address of the network on this host, for DHCP leases and DNS names. */
  leases: z.array(
    z.strictObject({
      name: Name,
      mac: z.string(),
      ipv4: z.string(),
      /** Absent where the network has no IPv6. */
      ipv6: z.string().optional(),
      /** Of a nic that is not the first of its instance: the guest's way out and its names are those of another network. */
      secondary: z.literal(true).optional(),
      /** Security groups it is in; absent where it is in none. */
      groups: z.array(Name).optional(),
      /** What may pass the nic; absent: all. */
      limits: NicLimits.optional(),
    }),
  ),
  /** The security groups that leases name; absent where none does. Of the same revision as the leases. */
  groups: z.array(HostSecurityGroup).optional(),
  /** Ports of the host that lead to addresses of the network; absent where there are none. Of the same revision as the leases. */
  ports: z.array(HostPort).optional(),
});
export type HostNetworkSpec = z.infer<typeof HostNetworkSpec>;
