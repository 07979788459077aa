import { closeSync, openSync } from 'node:fs';
import { constants } from 'node:os';
import { hasCode, SystemError } from './errno.js';
import {
  anyCidrEncode,
  attr,
  type Attribute,
  FAMILY,
  ifnameCheck,
  ipv4Encode,
  ipv6Encode,
  type IpVersion,
  linkHead,
  macEncode,
  NLM_F,
  RTM,
} from './netlink-codec.js';
import {
  type AddressInfo,
  addressDecode,
  IFA,
  IFLA,
  type LinkInfo,
  linkDecode,
  routeDecode,
  routeHead,
  type RouteInfo,
  RTA,
} from './netlink-route.js';
import {
  bucketRequest,
  filtersHead,
  hooksRequest,
  queueDecode,
  type QueueInfo,
  redirectDecode,
  redirectHead,
  redirectRequest,
  RTM_TRAFFIC,
  type Side,
  type TokenBucket,
  trafficHead,
} from './netlink-traffic.js';
import { type NetlinkRequest, NetlinkSocket } from './netlink-socket.js';

const IFF_UP = 1;
/** The address is taken without asking for duplicates (if_addr.h). */
const IFA_F_NODAD = 2;

export interface LinkChange {
  readonly up?: boolean;
  /** Name of the bridge to join, or null to leave it. */
  readonly master?: string | null;
  readonly mac?: string;
  readonly mtu?: number;
  /** New name; the link must be down. */
  readonly rename?: string;
  /** Free text kept by the kernel, at most 255 bytes; '' takes it away. */
  readonly alias?: string;
  /** Path of a network namespace to move into. Done alone: combine with nothing else. */
  readonly netns?: string;
}

export interface VethOptions {
  readonly name: string;
  readonly mac?: string;
  readonly mtu?: number;
  readonly peer: { readonly name: string; readonly mac?: string; readonly netns?: string };
}

export interface RouteOptions {
  /** `0.0.0.0/0`, `::/0` or another destination. */
  readonly destination: string;
  readonly via?: string;
  readonly link?: string;
}

/**
 * A client of the kernel's routing netlink (rtnetlink(7)) in one network namespace: that of the opening thread or the
 * one at a path. Calls are synchronous and take some microseconds. Every refusal is a SystemError with the errno name.
 */
export class Netlink {
  private constructor(private readonly socket: NetlinkSocket) {}

  /** Opens a socket; with `netns` in the namespace at that path, where the socket stays. */
  static open(netns?: string): Netlink {
    return new Netlink(NetlinkSocket.open(netns));
  }

  /** Opens, works, closes. */
  static with<T>(netns: string | undefined, work: (netlink: Netlink) => T): T {
    const netlink = Netlink.open(netns);
    try {
      return work(netlink);
    } finally {
      netlink.close();
    }
  }

  close(): void {
    this.socket.close();
  }

  /** All links of the namespace. */
  links(): LinkInfo[] {
    return this.socket.dump(RTM.GETLINK, linkHead()).map(linkDecode);
  }

  /** One link by name, or null. */
  link(name: string): LinkInfo | null {
    try {
      const [answer] = this.socket.request('RTM_GETLINK', name, {
        type: RTM.GETLINK,
        head: linkHead(),
        attributes: [attr.text(IFLA.IFNAME, ifnameCheck(name))],
      });
      return answer === undefined ? null : linkDecode(answer);
    } catch (error) {
      if (hasCode(error, 'ENODEV')) return null;
      throw error;
    }
  }

  /**
   * A bridge without spanning tree and forward delay. `filter`: what it carries is shown to the firewalls of IPv4 and IPv6, where
   * the kernel can (br_netfilter). @throws SystemError EEXIST.
   */
  addBridge(name: string, options: { mac?: string; mtu?: number; filter?: boolean } = {}): void {
    const data = [
      attr.u32(IFLA.BR_FORWARD_DELAY, 0),
      attr.u32(IFLA.BR_STP_STATE, 0),
      ...filterAttributes(options.filter === true),
    ];
    this.addLink(name, 'bridge', [...linkAttributes(options), ...linkInfo('bridge', data)]);
  }

  /** Changes a bridge. @throws SystemError ENODEV. */
  setBridge(name: string, change: { readonly filter: boolean }): void {
    const data = filterAttributes(change.filter);
    this.socket.request('RTM_NEWLINK', name, {
      type: RTM.NEWLINK,
      flags: 0,
      head: linkHead(this.need(name).index),
      attributes: linkInfo('bridge', data),
    });
  }

  /** A veth pair; the peer is made directly inside `peer.netns`, so that it never exists anywhere else. */
  addVeth(options: VethOptions): void {
    withFd(options.peer.netns, (netnsFd) => {
      const peer = [
        attr.text(IFLA.IFNAME, ifnameCheck(options.peer.name)),
        ...linkAttributes({ ...options, ...onlyMac(options.peer) }),
      ];
      if (netnsFd !== null) peer.push(attr.u32(IFLA.NET_NS_FD, netnsFd));
      const data = [attr.nested(IFLA.VETH_INFO_PEER, peer, linkHead())];
      this.addLink(options.name, 'veth', [...linkAttributes(options), ...linkInfo('veth', data)]);
    });
  }

  /** A link that gives back, after its queue, what another link sends through it (an intermediate functional block). */
  addIfb(name: string, options: { mtu?: number } = {}): void {
    this.addLink(name, 'ifb', [...linkAttributes(options), ...linkInfo('ifb', [])]);
  }

  /** Queueing disciplines of all links. */
  queues(): QueueInfo[] {
    return this.socket.dump(RTM_TRAFFIC.GETQDISC, trafficHead(0)).map(queueDecode);
  }

  /** Makes what a link sends pass a token bucket, in place of the queue that it had. @throws SystemError ENODEV, ENOENT (no such kernel module) */
  setBucket(name: string, bucket: TokenBucket): void {
    this.socket.request('RTM_NEWQDISC', name, {
      type: RTM_TRAFFIC.NEWQDISC,
      flags: NLM_F.CREATE | NLM_F.REPLACE,
      ...bucketRequest(this.need(name).index, bucket),
    });
  }

  /**
   * Leads what a link receives or sends through another, in place of one before; its own queue and the other side are left
   * alone. @throws SystemError ENODEV, ENOENT (no such kernel module)
   */
  redirect(name: string, side: Side, to: string): void {
    const { index } = this.need(name);
    const target = this.need(to).index;
    this.stopRedirecting(name, side);
    const flags = NLM_F.CREATE | NLM_F.EXCL;
    try {
      this.socket.request('RTM_NEWQDISC', name, {
        type: RTM_TRAFFIC.NEWQDISC,
        flags,
        ...hooksRequest(index),
      });
    } catch (error) {
      if (!hasCode(error, 'EEXIST')) throw error;
    }
    this.socket.request('RTM_NEWTFILTER', name, {
      type: RTM_TRAFFIC.NEWTFILTER,
      flags,
      ...redirectRequest(index, side, target),
    });
  }

  /** Index of the link that one side of a link is led through, or null. @throws SystemError ENODEV */
  redirected(name: string, side: Side): number | null {
    const filters = this.socket.dump(RTM_TRAFFIC.GETTFILTER, filtersHead(this.need(name).index, side));
    return filters.map(redirectDecode).find((index) => index !== null) ?? null;
  }

  /** One side of a link goes its own way. Returns false where it did. @throws SystemError ENODEV */
  stopRedirecting(name: string, side: Side): boolean {
    const head = redirectHead(this.need(name).index, side);
    return this.withoutHook('RTM_DELTFILTER', name, { type: RTM_TRAFFIC.DELTFILTER, head, attributes: [] });
  }

  /** Takes the hooks of both sides away. Returns false where there were none. @throws SystemError ENODEV */
  deleteHooks(name: string): boolean {
    const { head } = hooksRequest(this.need(name).index);
    return this.withoutHook('RTM_DELQDISC', name, { type: RTM_TRAFFIC.DELQDISC, head, attributes: [] });
  }

  /** Changes a link; several changes are one request. @throws SystemError ENODEV, EBUSY (rename while up). */
  setLink(name: string, change: LinkChange): void {
    const link = this.need(name);
    withFd(change.netns, (netnsFd) => {
      const attributes = linkAttributes(change);
      if (change.rename !== undefined) attributes.push(attr.text(IFLA.IFNAME, ifnameCheck(change.rename)));
      if (change.alias !== undefined)
        attributes.push(attr.bytes(IFLA.IFALIAS, Buffer.from(change.alias, 'utf8')));
      if (change.master !== undefined) {
        attributes.push(attr.u32(IFLA.MASTER, change.master === null ? 0 : this.need(change.master).index));
      }
      if (netnsFd !== null) attributes.push(attr.u32(IFLA.NET_NS_FD, netnsFd));
      const flags = change.up === true ? IFF_UP : 0;
      const mask = change.up === undefined ? 0 : IFF_UP;
      this.socket.request('RTM_NEWLINK', name, {
        type: RTM.NEWLINK,
        head: linkHead(link.index, flags, mask),
        attributes,
      });
    });
  }

  /** Deletes a link (a veth with its peer). Returns false when there was none. Blocks for 10 to 40 ms. */
  deleteLink(name: string): boolean {
    return absentIsFalse(() => this.socket.request('RTM_DELLINK', name, deletion(name)));
  }

  /**
   * Deletes a link off this thread, because the kernel waits for its readers (some 20 ms) before it answers. Returns
   * false when there was none. Nothing else may use this client meanwhile.
   */
  async deleteLinkSoon(name: string): Promise<boolean> {
    const answered = await this.socket.requestSoon('RTM_DELLINK', name, deletion(name));
    return absentIsFalse(answered);
  }

  /**
   * Adds an address such as `10.0.0.1/24`, with its broadcast address, or `fd00::1/64`, which can be used at once: nobody is asked
   * whether it is another's. One that is there already is kept.
   */
  addAddress(link: string, cidr: string): void {
    this.changeAddress(RTM.NEWADDR, NLM_F.CREATE | NLM_F.REPLACE, link, cidr);
  }

  deleteAddress(link: string, cidr: string): void {
    this.changeAddress(RTM.DELADDR, 0, link, cidr);
  }

  /** Addresses of one link or all. */
  addresses(link?: string, version: IpVersion = 4): AddressInfo[] {
    const head = Buffer.alloc(8);
    head[0] = FAMILY[version];
    const all = this.socket.dump(RTM.GETADDR, head).map(addressDecode);
    if (link === undefined) return all;
    const { index } = this.need(link);
    return all.filter((a) => a.linkIndex === index);
  }

  /** Adds or replaces a route of the main table. */
  addRoute(route: RouteOptions): void {
    this.changeRoute(RTM.NEWROUTE, NLM_F.CREATE | NLM_F.REPLACE, route);
  }

  deleteRoute(route: RouteOptions): void {
    this.changeRoute(RTM.DELROUTE, 0, route);
  }

  /** Routes of the main table. */
  routes(version: IpVersion = 4): RouteInfo[] {
    return this.socket
      .dump(RTM.GETROUTE, routeHead(version, 0))
      .map(routeDecode)
      .filter((r) => r.table === 254);
  }

  private withoutHook(what: string, name: string, request: NetlinkRequest): boolean {
    try {
      this.socket.request(what, name, request);
      return true;
    } catch (error) {
      // ENOENT: no such filter or hook. EINVAL: a filter where there are no hooks.
      if (hasCode(error, 'ENOENT', 'EINVAL')) return false;
      throw error;
    }
  }

  private addLink(name: string, kind: string, attributes: readonly Attribute[]): void {
    this.socket.request('RTM_NEWLINK', `${kind} ${name}`, {
      type: RTM.NEWLINK,
      flags: NLM_F.CREATE | NLM_F.EXCL,
      head: linkHead(),
      attributes: [attr.text(IFLA.IFNAME, ifnameCheck(name)), ...attributes],
    });
  }

  private changeAddress(type: number, flags: number, link: string, cidr: string): void {
    const { version, address, prefix } = anyCidrEncode(cidr);
    const head = Buffer.alloc(8); // struct ifaddrmsg
    head[0] = FAMILY[version];
    head[1] = prefix;
    head[2] = version === 6 && type === RTM.NEWADDR ? IFA_F_NODAD : 0;
    head.writeUInt32LE(this.need(link).index, 4);
    const attributes = [attr.bytes(IFA.LOCAL, address), attr.bytes(IFA.ADDRESS, address)];
    if (version === 4 && prefix < 31) {
      const broadcast = Buffer.alloc(4);
      broadcast.writeUInt32BE((address.readUInt32BE() | (0xffffffff >>> prefix)) >>> 0);
      attributes.push(attr.bytes(IFA.BROADCAST, broadcast));
    }
    this.socket.request(type === RTM.NEWADDR ? 'RTM_NEWADDR' : 'RTM_DELADDR', `${cidr} on ${link}`, {
      type,
      flags,
      head,
      attributes,
    });
  }

  private changeRoute(type: number, flags: number, route: RouteOptions): void {
    const { version, address, prefix } = anyCidrEncode(route.destination);
    const attributes = prefix === 0 ? [] : [attr.bytes(RTA.DST, address)];
    if (route.via !== undefined) {
      const via = version === 6 ? ipv6Encode(route.via) : ipv4Encode(route.via);
      attributes.push(attr.bytes(RTA.GATEWAY, via));
    }
    if (route.link !== undefined) attributes.push(attr.u32(RTA.OIF, this.need(route.link).index));
    this.socket.request(type === RTM.NEWROUTE ? 'RTM_NEWROUTE' : 'RTM_DELROUTE', route.destination, {
      type,
      flags,
      head: routeHead(version, prefix, route.via === undefined),
      attributes,
    });
  }

  private need(name: string): LinkInfo {
    const link = this.link(name);
    if (link === null) throw new SystemError('RTM_GETLINK', constants.errno.ENODEV, name);
    return link;
  }
}

function onlyMac(peer: { readonly mac?: string }): { mac?: string } {
  return peer.mac === undefined ? {} : { mac: peer.mac };
}

function linkAttributes(options: { mac?: string; mtu?: number }): Attribute[] {
  const attributes: Attribute[] = [];
  if (options.mac !== undefined) attributes.push(attr.bytes(IFLA.ADDRESS, macEncode(options.mac)));
  if (options.mtu !== undefined) attributes.push(attr.u32(IFLA.MTU, options.mtu));
  return attributes;
}

function filterAttributes(filter: boolean): Attribute[] {
  const value = filter ? 1 : 0;
  return [attr.u8(IFLA.BR_NF_CALL_IPTABLES, value), attr.u8(IFLA.BR_NF_CALL_IP6TABLES, value)];
}

function linkInfo(kind: string, data: readonly Attribute[]): Attribute[] {
  return [attr.nested(IFLA.LINKINFO, [attr.text(IFLA.INFO_KIND, kind), attr.nested(IFLA.INFO_DATA, data)])];
}

function withFd(path: string | undefined, work: (fd: number | null) => void): void {
  if (path === undefined) return work(null);
  const fd = openSync(path, 'r');
  try {
    work(fd);
  } finally {
    closeSync(fd);
  }
}

function deletion(name: string): NetlinkRequest {
  return { type: RTM.DELLINK, head: linkHead(), attributes: [attr.text(IFLA.IFNAME, ifnameCheck(name))] };
}

function absentIsFalse(request: () => unknown): boolean {
  try {
    request();
    return true;
  } catch (error) {
    if (hasCode(error, 'ENODEV')) return false;
    throw error;
  }
}
