import { BlockList, isIP } from 'node:net';

/*
 * Which addresses are of the public Internet. Of IPv4 what IANA's special-purpose registry (RFC 6890) names is not; of IPv6
 * only what is handed out for global unicast (2000::/3) is, less what in it is special or carries an IPv4 address. So
 * whatever is new or odd counts as private: IPv4-mapped, NAT64 and 6to4 addresses among them.
 */

const special4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.31.196.0/24',
  '192.52.193.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '192.175.48.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
];
const special6 = ['2001::/23', '2001:db8::/32', '2002::/16', '2620:4f:8000::/48', '3fff::/20'];

const listOf = (family: 'ipv4' | 'ipv6', subnets: readonly string[]): BlockList => {
  const list = new BlockList();
  for (const subnet of subnets) {
    const [address = '', bits] = subnet.split('/');
    list.addSubnet(address, Number(bits), family);
  }
  return list;
};
const refused4 = listOf('ipv4', special4);
const refused6 = listOf('ipv6', special6);
const global6 = listOf('ipv6', ['2000::/3']);

/** Whether an IP address is of the public Internet. What is no address is not. */
export function isPublicAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return !refused4.check(address, 'ipv4');
    case 6:
      // A zone (fe80::1%eth0) is only for addresses of a link.
      return !address.includes('%') && global6.check(address, 'ipv6') && !refused6.check(address, 'ipv6');
    default:
      return false;
  }
}
