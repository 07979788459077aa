import { ifnameCheck, ipv4Encode, macEncode } from '@berth/linux';
import { Name } from '@berth/model';
import { address6Text, badSpec, type Subnet, type Subnet6 } from './subnet.js';

export interface DnsmasqSettings {
  readonly bridge: string;
  readonly subnet: Subnet;
  readonly gateway: string;
  /** Null where the network has none. */
  readonly ipv6: { readonly subnet: Subnet6; readonly gateway: string } | null;
  /** Whether routers are to be told of as a way out (IPv6; of IPv4 every lease says it). */
  readonly wayOut: boolean;
  readonly domain: string;
  readonly mtu: number;
  readonly user: string;
  readonly hostsFile: string;
  readonly leasesFile: string;
  /** The host's resolv.conf when it names a resolver; null: nothing is forwarded. */
  readonly resolvFile: string | null;
}

export interface Lease {
  readonly name: string;
  readonly mac: string;
  readonly ipv4: string;
  readonly ipv6?: string | undefined;
  /** Of a nic that is not its guest's first: no way out and no names are offered with the address. */
  readonly secondary?: true | undefined;
}

/** dnsmasq's word for the leases that are secondary. */
const SECONDARY = 'secondary';

/**
 * The configuration of one network's dnsmasq (dnsmasq(8)). It binds to the bridge's address only. Addresses are given
 * for life by the control plane, so there is no lease database: `leasefile-ro` with `dhcp-authoritative` acknowledges a
 * known MAC at any time, also after a restart, and unknown ones get no answer.
 *
 * IPv6 likewise: `static` makes router advertisements say that addresses come by DHCPv6 (flag M), and none is to be made up from the
 * prefix. A client is known by its MAC, which dnsmasq looks up among its neighbours, since a DUID is not known beforehand.
 */
export function dnsmasqConfig(s: DnsmasqSettings): string {
  const lines: readonly (readonly [string, string?])[] = [
    ['keep-in-foreground'],
    ['user', s.user],
    ['log-facility', '-'],
    ['pid-file='], // none
    ['interface', ifnameCheck(s.bridge)],
    ['except-interface', 'lo'],
    ['bind-interfaces'],
    ['no-hosts'],
    ['domain', domain(s.domain)],
    ['local', `/${s.domain}/`],
    ['local', '/berth.internal/'],
    ['expand-hosts'],
    ['domain-needed'],
    ['bogus-priv'],
    ['addn-hosts', s.hostsFile],
    ...(s.resolvFile === null
      ? ([['no-resolv'], ['no-poll']] as const)
      : ([['resolv-file', s.resolvFile]] as const)),
    ['dhcp-authoritative'],
    ['dhcp-ignore', 'tag:!known'],
    ['leasefile-ro'],
    ['no-ping'],
    ['quiet-dhcp'],
    ['dhcp-hostsfile', s.leasesFile],
    ['dhcp-range', `${s.subnet.network},static,${s.subnet.netmask},12h`],
    ['dhcp-option', `option:router,${text(ipv4Encode(s.gateway))}`],
    ['dhcp-option', `option:dns-server,${text(ipv4Encode(s.gateway))}`],
    // Without a value an option is not sent, not even with dnsmasq's own.
    ...['router', 'dns-server', 'domain-name'].map(
      (option) => ['dhcp-option', `tag:${SECONDARY},option:${option}`] as const,
    ),
    ['dhcp-option', `option:mtu,${integer(s.mtu)}`],
    ...ipv6Lines(s),
  ];
  return lines.map(([key, value]) => (value === undefined ? `${key}\n` : `${key}=${word(value)}\n`)).join('');
}

/** Seconds between router advertisements that nobody asked for. */
const RA_SECONDS = 600;

function ipv6Lines(s: DnsmasqSettings): (readonly [string, string?])[] {
  if (s.ipv6 === null) return [];
  const { subnet, gateway } = s.ipv6;
  const bridge = ifnameCheck(s.bridge);
  const dns = `[${address6Text(gateway)}]`;
  return [
    ['dhcp-range', `${address6Text(subnet.network)},static,${prefixLength(subnet.prefix)},12h`],
    ['enable-ra'],
    // An advertisement is for all on a link: not only for guests of which it is the first network. So it gives way to what is stated.
    ['ra-param', `${bridge},mtu:${integer(s.mtu)},low,${RA_SECONDS}${s.wayOut ? '' : ',0'}`],
    ['dhcp-option', `option6:dns-server,${dns}`],
  ];
}

/** `dhcp-hostsfile`: one line per address, read again at SIGHUP. */
export function dnsmasqLeases(leases: readonly Lease[]): string {
  const tag = (l: Lease): string => (l.secondary === true ? `set:${SECONDARY},` : '');
  const six = ({ ipv6 }: Lease): string => (ipv6 === undefined ? '' : `[${address6Text(ipv6)}],`);
  return leases
    .map((l) => `${mac(l)},${tag(l)}${text(ipv4Encode(l.ipv4))},${six(l)}${label(l.name)}\n`)
    .join('');
}

/**
 * `addn-hosts`: names for every address, also of containers, which never ask DHCP. `serial` is a name that changes
 * with the content: once it resolves, this content is being served.
 */
export function dnsmasqHosts(leases: readonly Lease[], serial: { name: string; address: string }): string {
  if (!/^_[a-z0-9-]{1,62}$/.test(serial.name))
    throw badSpec(`not a serial name: ${JSON.stringify(serial.name)}`);
  const own = `${text(ipv4Encode(serial.address))} ${serial.name}\n`;
  const addresses = ({ ipv4, ipv6 }: Lease): string[] => [
    text(ipv4Encode(ipv4)),
    ...(ipv6 === undefined ? [] : [address6Text(ipv6)]),
  ];
  return own + leases.flatMap((l) => addresses(l).map((a) => `${a} ${label(l.name)}\n`)).join('');
}

/** No blank, comment, quote or control character can stand in a value, so a value never ends its line. */
function word(value: string): string {
  if (!/^[A-Za-z0-9/._:,!+@=[\]-]+$/.test(value)) {
    throw badSpec(`cannot be written to a dnsmasq configuration: ${JSON.stringify(value)}`);
  }
  return value;
}

/** dnsmasq reads `a,b` as a domain with a range, and `local=//` as every name without a dot. */
function domain(value: string): string {
  for (const part of value.split('.')) label(part);
  return value;
}

function label(name: string): string {
  const parsed = Name.safeParse(name);
  if (!parsed.success) throw badSpec(`not a DNS label: ${JSON.stringify(name)}`);
  return parsed.data;
}

function mac(lease: Lease): string {
  return macEncode(lease.mac)
    .toString('hex')
    .replace(/(..)(?!$)/g, '$1:');
}

function integer(value: number): string {
  if (!Number.isSafeInteger(value) || value < 576 || value > 65_535) throw badSpec(`not an MTU: ${value}`);
  return String(value);
}

function prefixLength(value: number): string {
  if (!Number.isSafeInteger(value) || value < 64 || value > 112)
    throw badSpec(`not a prefix length: ${value}`);
  return String(value);
}

function text(address: Uint8Array): string {
  return [...address].join('.');
}
