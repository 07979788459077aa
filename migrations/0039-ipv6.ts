import type { Migration } from './index.js';

/**
 * An IPv6 prefix of a network, and an address of each nic on it. What is there goes on with IPv4 alone. Prefixes overlap no others, as
 * subnets do: `networks_apart` of the first step is for those.
 */
export const ipv6: Migration = {
  version: 39,
  name: 'Ipv6',
  sql: `
ALTER TABLE networks
  ADD COLUMN cidr6 cidr CHECK (family(cidr6) = 6 AND masklen(cidr6) BETWEEN 64 AND 112),
  ADD COLUMN gateway6 inet,
  ADD CONSTRAINT networks_gateway6_check CHECK ((cidr6 IS NULL) = (gateway6 IS NULL) AND (gateway6 IS NULL OR gateway6 << cidr6::inet)),
  ADD CONSTRAINT networks_apart6 EXCLUDE USING gist (cidr6 inet_ops WITH &&);
ALTER TABLE addresses
  ADD COLUMN address6 inet CHECK (family(address6) = 6 AND masklen(address6) = 128),
  ADD CONSTRAINT addresses_address6_key UNIQUE (network_id, address6);
`,
};
