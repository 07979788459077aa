import { attributesDecode, FAMILY, ipv6Decode, type IpVersion, macDecode, textOf } from './netlink-codec.js';

/** Attribute numbers of <linux/if_link.h>, <linux/if_addr.h> and <linux/rtnetlink.h>. */
export const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  MTU: 4,
  MASTER: 10,
  LINKINFO: 18,
  IFALIAS: 20,
  STATS64: 23,
  NET_NS_FD: 28,
  INFO_KIND: 1,
  INFO_DATA: 2,
  VETH_INFO_PEER: 1,
  BR_FORWARD_DELAY: 1,
  BR_STP_STATE: 5,
  BR_NF_CALL_IPTABLES: 36,
  BR_NF_CALL_IP6TABLES: 37,
} as const;
export const IFA = { ADDRESS: 1, LOCAL: 2, BROADCAST: 4 } as const;
export const RTA = { DST: 1, OIF: 4, GATEWAY: 5, TABLE: 15 } as const;

export interface LinkInfo {
  readonly index: number;
  readonly name: string;
  /** `bridge`, `veth`, `tun` …; null for a link without a driver of that sort (loopback, hardware). */
  readonly kind: string | null;
  readonly up: boolean;
  /** Carrier: the other end is there and up. */
  readonly running: boolean;
  readonly mac: string | null;
  readonly mtu: number;
  /** Index of the bridge it belongs to, or null. */
  readonly master: number | null;
  readonly alias: string | null;
  /** Received and sent by this end since it was made, bytes. */
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly rxPackets: number;
  readonly txPackets: number;
  readonly rxErrors: number;
  readonly txErrors: number;
  readonly rxDropped: number;
  readonly txDropped: number;
}

export interface AddressInfo {
  readonly linkIndex: number;
  readonly address: string;
  readonly prefix: number;
}

export interface RouteInfo {
  /** CIDR; `0.0.0.0/0` is the default route. */
  readonly destination: string;
  readonly via: string | null;
  readonly linkIndex: number | null;
  readonly table: number;
}

/** struct ifinfomsg and its attributes. */
export function linkDecode(payload: Buffer): LinkInfo {
  const attributes = attributesDecode(payload.subarray(16));
  const info = attributes.get(IFLA.LINKINFO);
  const kind = info === undefined ? undefined : attributesDecode(info).get(IFLA.INFO_KIND);
  const mac = attributes.get(IFLA.ADDRESS);
  const alias = attributes.get(IFLA.IFALIAS);
  const flags = payload.readUInt32LE(8);
  return {
    index: payload.readInt32LE(4),
    name: textOf(attributes.get(IFLA.IFNAME) ?? Buffer.alloc(0)),
    kind: kind === undefined ? null : textOf(kind),
    up: (flags & 1) !== 0,
    running: (flags & 0x40) !== 0,
    mac: mac === undefined ? null : macDecode(mac),
    mtu: attributes.get(IFLA.MTU)?.readUInt32LE() ?? 0,
    master: attributes.get(IFLA.MASTER)?.readUInt32LE() ?? null,
    alias: alias === undefined ? null : textOf(alias),
    ...linkCounters(attributes.get(IFLA.STATS64)),
  };
}

/** struct rtnl_link_stats64 begins with these, of a link received and sent. */
const COUNTERS = [
  'rxPackets',
  'txPackets',
  'rxBytes',
  'txBytes',
  'rxErrors',
  'txErrors',
  'rxDropped',
  'txDropped',
] as const;

function linkCounters(stats: Buffer | undefined): Record<(typeof COUNTERS)[number], number> {
  const counters = COUNTERS.map((name, i) => [name, Number(stats?.readBigUInt64LE(i * 8) ?? 0)] as const);
  return Object.fromEntries(counters) as Record<(typeof COUNTERS)[number], number>;
}

/** struct ifaddrmsg and its attributes. */
export function addressDecode(payload: Buffer): AddressInfo {
  const attributes = attributesDecode(payload.subarray(8));
  const local = attributes.get(IFA.LOCAL) ?? attributes.get(IFA.ADDRESS) ?? Buffer.alloc(4);
  return { linkIndex: payload.readUInt32LE(4), address: addressOf(local), prefix: payload[1] ?? 0 };
}

function addressOf(bytes: Buffer): string {
  return bytes.length === 16 ? ipv6Decode(bytes) : [...bytes].join('.');
}

/** struct rtmsg of a unicast route in the main table. */
export function routeHead(version: IpVersion, prefix: number, onLink = false): Buffer {
  // family, dst_len, src_len, tos, table RT_TABLE_MAIN, protocol RTPROT_STATIC, scope LINK or UNIVERSE, type UNICAST
  const scope = onLink && version === 4 ? 253 : 0;
  return Buffer.from([FAMILY[version], prefix, 0, 0, 254, 4, scope, 1, 0, 0, 0, 0]);
}

export function routeDecode(payload: Buffer): RouteInfo {
  const attributes = attributesDecode(payload.subarray(12));
  const destination = attributes.get(RTA.DST) ?? Buffer.alloc(payload[0] === FAMILY[6] ? 16 : 4);
  const gateway = attributes.get(RTA.GATEWAY);
  return {
    destination: `${addressOf(destination)}/${payload[1] ?? 0}`,
    via: gateway === undefined ? null : addressOf(gateway),
    linkIndex: attributes.get(RTA.OIF)?.readUInt32LE() ?? null,
    table: attributes.get(RTA.TABLE)?.readUInt32LE() ?? payload[4] ?? 0,
  };
}
