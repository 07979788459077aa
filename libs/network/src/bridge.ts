import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { ifnameCheck, type IpVersion, Netlink } from '@berth/linux';
import { cidrHolds6 } from '@berth/model';
import { ipv6Check, ipv6Disable, ipv6Enable } from './ipv6-host.js';
import { NetworkError } from './network-error.js';
import { address6Text, addressParse, type Subnet, type Subnet6 } from './subnet.js';

export interface BridgeWanted {
  readonly name: string;
  readonly alias: string;
  readonly mac: string;
  readonly mtu: number;
  readonly gateway: string;
  readonly subnet: Subnet;
  /** Null: the bridge has no IPv6. */
  readonly ipv6: { readonly subnet: Subnet6; readonly gateway: string } | null;
}

/** The link-local address of every bridge, from which routers advertise themselves (RFC 4861, 6.1.2). */
const ROUTER = 'fe80::1';

/**
 * Makes or repairs a bridge with its gateways' addresses; returns its index. Synchronous: some hundred microseconds.
 * @throws NetworkError nameTaken, subnetTaken, ipv6Missing
 */
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
    const wants = addressesOf(wanted);
    const own = link === null ? [] : addressesOn(netlink, wanted.name);
    const missing = wants.filter((one) => !own.includes(one));
    const fits = missing.length === 0 && link?.mtu === wanted.mtu;
    if (link !== null && link.alias !== null && link.up && fits) return link.index;
    if (missing.includes(wants[0])) subnetFree(netlink, wanted);
    if (wanted.ipv6 !== null && missing.length > 0) {
      ipv6Check();
      subnet6Free(netlink, wanted.name, wanted.ipv6.subnet);
    }
    if (link === null) {
      netlink.addBridge(wanted.name, { mac: wanted.mac, mtu: wanted.mtu, filter: true });
      netlink.setLink(wanted.name, { alias: wanted.alias });
    }
    if (wanted.ipv6 === null) ipv6Disable(wanted.name);
    else ipv6Enable(wanted.name, 'given');
    for (const other of own) if (!wants.includes(other)) netlink.deleteAddress(wanted.name, other);
    netlink.setLink(wanted.name, { alias: wanted.alias, mtu: wanted.mtu, up: true });
    for (const one of wants) netlink.addAddress(wanted.name, one);
    link = netlink.link(wanted.name);
    if (link === null) throw new Error(`bridge ${wanted.name} vanished while it was made`);
    return link.index;
  });
}

/** In CIDR notation; that of IPv4 first. */
function addressesOf({ gateway, subnet, ipv6 }: BridgeWanted): [string, ...string[]] {
  const six = ipv6 === null ? [] : [`${address6Text(ipv6.gateway)}/${ipv6.subnet.prefix}`, `${ROUTER}/64`];
  return [`${gateway}/${subnet.prefix}`, ...six];
}

function addressesOn(netlink: Netlink, link: string): string[] {
  const of = (version: IpVersion) => netlink.addresses(link, version);
  return [...of(4), ...of(6)].map(({ address, prefix }) => `${address}/${prefix}`);
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

/** The same of an IPv6 prefix. @throws NetworkError subnetTaken. */
function subnet6Free(netlink: Netlink, bridge: string, { network, prefix }: Subnet6): void {
  const links = netlink.links();
  for (const other of netlink.addresses(undefined, 6)) {
    const name = links.find((l) => l.index === other.linkIndex)?.name ?? `#${other.linkIndex}`;
    const wider = Math.min(prefix, other.prefix);
    if (name === bridge || !cidrHolds6(`${network}/${wider}`, other.address)) continue;
    throw new NetworkError(
      'subnetTaken',
      `${network}/${prefix} overlaps ${other.address}/${other.prefix} of link ${name}`,
      'give the project network another prefix, or the host link another address',
    );
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
 * Has the kernel show what a bridge carries between neighbours to its firewall too (br_netfilter), where security groups
 * are. Bridges of ours are made so; one of before is changed. It says nothing of other bridges. @throws NetworkError nftFailed.
 */
export function bridgeFilter(bridge: string): void {
  if (!existsSync('/proc/sys/net/bridge'))
    throw new NetworkError(
      'nftFailed',
      'the kernel does not filter what bridges carry, so that security groups would not hold',
      'load the kernel module br_netfilter',
    );
  Netlink.with(undefined, (netlink) => netlink.setBridge(bridge, { filter: true }));
}
