import { z } from 'zod';
import { Name, NetworkId } from './ids.js';
import { HostPort } from './published-port.js';
import { HostSecurityGroup } from './security-group.js';

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
  leases: z.array(
    z.strictObject({
      name: Name,
      mac: z.string(),
      ipv4: z.string(),
      /** Security groups it is in; absent where it is in none. */
      groups: z.array(Name).optional(),
    }),
  ),
  /** The security groups that leases name; absent where none does. Of the same revision as the leases. */
  groups: z.array(HostSecurityGroup).optional(),
  /** Ports of the host that lead to addresses of the network; absent where there are none. Of the same revision as the leases. */
  ports: z.array(HostPort).optional(),
});
export type HostNetworkSpec = z.infer<typeof HostNetworkSpec>;
