import { concat, type Expression, field, match, meta, set } from './nft-words.js';

const accept: Expression = { accept: null };
const drop: Expression = { drop: null };

const icmp = (...types: string[]) => match(field('icmpv6', 'type'), set(types));

/** A verdict of the nic's own chain, which ends by one: whether the target of neighbour discovery is an address of the nic. */
const claimed: Expression = { vmap: { key: meta('iifname'), data: '@claims' } };

const linkLocal = { prefix: { addr: 'fe80::', len: 10 } };

/**
 * What a guest may send as IPv6 (the sender's MAC has been looked at): from the nic's address, to everything but link-local ones; and
 * from the link-local address that its MAC gives, what a node needs to be one: neighbour discovery (RFC 4861), multicast membership
 * (RFC 3810), questions by DHCPv6 (RFC 8415). So what security groups have no word on, link-local traffic, is none. A neighbour
 * advertisement tells of addresses of the nic only, or neighbours would send it what is another's; and only for these is it asked
 * whether they are free (RFC 4862), which would keep another from taking its own. Nobody plays router or DHCP server: no router
 * advertisements, redirects, queries for memberships, answers of DHCPv6.
 */
export function guard6Rules(): readonly (readonly Expression[])[] {
  const from = field('ip6', 'saddr');
  const udp = (name: string, port: number) => match(field('udp', name), port);
  return [
    [icmp('nd-router-advert', 'nd-redirect', 'mld-listener-query'), drop],
    [udp('sport', 547), drop],
    [match(from, '::'), icmp('nd-neighbor-solicit'), claimed],
    [match(concat(meta('iifname'), field('ether', 'saddr'), from), '@nics6', '!='), drop],
    [icmp('nd-neighbor-advert'), claimed],
    [
      icmp(
        ...['nd-neighbor-solicit', 'nd-router-solicit'],
        ...['mld-listener-report', 'mld-listener-done', 'mld2-listener-report'],
      ),
      accept,
    ],
    [match(from, linkLocal), udp('sport', 546), udp('dport', 547), accept],
    [match(from, linkLocal), drop],
    [match(field('ip6', 'daddr'), linkLocal), drop],
    [accept],
  ];
}
