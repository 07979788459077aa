import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { hasCode, ifnameCheck, Netlink } from '@berth/linux';
import { NetworkError } from './network-error.js';
import { addressParse, type Subnet } from './subnet.js';

export interface BridgeWanted {
  readonly name: string;
  readonly alias: string;
  readonly mac: string;
  readonly mtu: number;
  readonly gateway: string;
  readonly subnet: Subnet;
}

/** Makes or repairs a bridge with its gateway address; returns its index. Synchronous: some hundred microseconds. */
export function bridgeEnsure(wanted: BridgeWanted): number {
  return Netlink.with(undefined, (netlink) => {
    let link = netlink.link(wanted.name);
    if (link !== null && link.alias !== null && link.alias !== wanted.alias) {
      throw new NetworkError(
        'nameTaken',
        `link ${wanted.name} belongs to ${link.alias}`,
        `remove link ${wanted.name}`,
      );
    }
    const address = { address: wanted.gateway, prefix: wanted.subnet.prefix };
    const own = link === null ? [] : netlink.addresses(wanted.name);
    const addressed = own.some((a) => a.address === address.address && a.prefix === address.prefix);
    if (link !== null && link.alias !== null && link.up && addressed && link.mtu === wanted.mtu)
      return link.index;
    if (!addressed) subnetFree(netlink, wanted);
    if (link === null) {
      netlink.addBridge(wanted.name, { mac: wanted.mac, mtu: wanted.mtu, filterIpv4: true });
      netlink.setLink(wanted.name, { alias: wanted.alias });
    }
    ipv6Disable(wanted.name);
    for (const other of own) {
      if (other.address !== address.address)
        netlink.deleteAddress(wanted.name, `${other.address}/${other.prefix}`);
    }
    netlink.setLink(wanted.name, { alias: wanted.alias, mtu: wanted.mtu, up: true });
    netlink.addAddress(wanted.name, `${address.address}/${address.prefix}`);
    link = netlink.link(wanted.name);
    if (link === null) throw new Error(`bridge ${wanted.name} vanished while it was made`);
    return link.index;
  });
}

/** Two links in one subnet would take each other's traffic. @throws NetworkError subnetTaken. */
function subnetFree(netlink: Netlink, wanted: BridgeWanted): void {
  const links = netlink.links();
  for (const other of netlink.addresses()) {
    const size = 2 ** (32 - other.prefix);
    const first = addressParse(other.address) - (addressParse(other.address) % size);
    const name = links.find((l) => l.index === other.linkIndex)?.name ?? `#${other.linkIndex}`;
    if (name === wanted.name || first > wanted.subnet.last || first + size - 1 < wanted.subnet.first)
      continue;
    throw new NetworkError(
      'subnetTaken',
      `${wanted.subnet.network}/${wanted.subnet.prefix} overlaps ${other.address}/${other.prefix} of link ${name}`,
      'give the project network another subnet, or the host link another address',
    );
  }
}

/** No IPv6 on a link of ours: nothing of the host answers guests on link-local addresses. */
export function ipv6Disable(link: string): void {
  try {
    const directory = `/proc/sys/net/ipv6/conf/${link}`;
    writeFileSync(`${directory}/disable_ipv6`, '1');
    writeFileSync(`${directory}/accept_ra`, '0');
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error; // a kernel without IPv6
  }
}

/** Lets this network namespace forward IPv4. Other links' traffic is then forwarded too unless a firewall says no. */
export function forwardingEnable(): void {
  const path = '/proc/sys/net/ipv4/ip_forward';
  if (readFileSync(path, 'utf8').trim() !== '1') writeFileSync(path, '1');
}

/**
 * Whether a bridge carries packets of 127.0.0.0/8: it must where the host's own programs are to reach published ports by
 * a loopback address. The table of its network keeps guests from using it, and so is in place before.
 */
export function loopbackRoute(bridge: string, wanted: boolean): void {
  const path = `/proc/sys/net/ipv4/conf/${ifnameCheck(bridge)}/route_localnet`;
  const value = wanted ? '1' : '0';
  if (readFileSync(path, 'utf8').trim() !== value) writeFileSync(path, value);
}

/**
 * Has the kernel show what a bridge carries between neighbours to its IPv4 firewall too (br_netfilter), where security groups
 * are. Bridges of ours are made so; one of before is changed. It says nothing of other bridges. @throws NetworkError nftFailed.
 */
export function bridgeFilter(bridge: string): void {
  if (!existsSync('/proc/sys/net/bridge'))
    throw new NetworkError(
      'nftFailed',
      'the kernel does not filter what bridges carry, so that security groups would not hold',
      'load the kernel module br_netfilter',
    );
  Netlink.with(undefined, (netlink) => netlink.setBridge(bridge, { filterIpv4: true }));
}
