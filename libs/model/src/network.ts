import { z } from 'zod';
import { Name, NetworkId } from './ids.js';

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
    resourceVersion: z.int(),
    createdAt: z.iso.datetime(),
  })
  .meta({ id: 'Network' });
export type Network = z.infer<typeof Network>;

/** A network as a host realises it. */
export const HostNetworkSpec = z.strictObject({
  id: NetworkId,
  project: Name,
  name: Name,
  cidr: z.string(),
  gateway: z.string(),
  /** Rises with the leases. A host ignores leases older than those it has; without it leases are only added. */
  revision: z.int().nonnegative().optional(),
  /** Every address of the network on this host, for DHCP leases and DNS names. */
  leases: z.array(z.strictObject({ name: Name, mac: z.string(), ipv4: z.string() })),
});
export type HostNetworkSpec = z.infer<typeof HostNetworkSpec>;
