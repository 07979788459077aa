import { createTap, hasCode, inNetns, type LinkInfo, Netlink } from '@berth/linux';
import { ipv6Disable, ipv6Enable } from './ipv6-host.js';
import { NetworkError } from './network-error.js';

/** No port is left at a bridge (include/uapi/asm-generic/errno.h); Node has no name for it. */
const EXFULL = 'E54';

/** A nic to be joined to a bridge. */
export interface NicWanted {
  readonly link: string;
  readonly alias: string;
  /** As an agent of before named the same nic. */
  readonly olderAlias: string;
  readonly bridge: string;
  readonly mtu: number;
}

export interface VethWanted extends NicWanted {
  readonly netns: string;
  readonly ifname: string;
  readonly mac: string;
  /** With prefix: `10.0.0.2/24`. */
  readonly address: string;
  /** Of the default route; null where that is another nic's. */
  readonly gateway: string | null;
  /** The same of IPv6; null where its network has none. */
  readonly ipv6: { readonly address: string; readonly gateway: string | null } | null;
}

/**
 * A tap for a guest, owned by the user that runs it. Synchronous from the first link to the alias: no other code of this
 * process can run between, so a link of ours without an alias was left by an agent that died.
 */
export function tapAttach(wanted: NicWanted & { readonly uid: number; readonly gid?: number }): void {
  Netlink.with(undefined, (netlink) => {
    const existing = ownLink(netlink, wanted);
    if (existing === null) {
      createTap(wanted.link, { uid: wanted.uid, ...(wanted.gid === undefined ? {} : { gid: wanted.gid }) });
      netlink.setLink(wanted.link, { alias: wanted.alias });
    }
    join(netlink, wanted);
  });
}

/** A veth whose far end is made inside the container's namespace, with its address and, of one nic, the default route. */
export function vethAttach(wanted: VethWanted): void {
  Netlink.with(undefined, (netlink) => {
    let existing = ownLink(netlink, wanted);
    if (existing !== null && !farEndThere(wanted)) {
      netlink.deleteLink(wanted.link); // its container's namespace is gone or going
      existing = null;
    }
    if (existing === null) {
      const peer = { name: wanted.ifname, mac: wanted.mac, netns: wanted.netns };
      netlink.addVeth({ name: wanted.link, mtu: wanted.mtu, peer });
      netlink.setLink(wanted.link, { alias: wanted.alias });
    }
    join(netlink, wanted);
  });
  const { ipv6 } = wanted;
  inNetns(wanted.netns, () =>
    ipv6 === null ? ipv6Disable(wanted.ifname) : ipv6Enable(wanted.ifname, 'fromMac'),
  );
  Netlink.with(wanted.netns, (guest) => {
    guest.setLink('lo', { up: true });
    guest.addAddress(wanted.ifname, wanted.address);
    guest.setLink(wanted.ifname, { up: true });
    if (wanted.gateway !== null)
      guest.addRoute({ destination: '0.0.0.0/0', via: wanted.gateway, link: wanted.ifname });
    if (ipv6 === null) return;
    guest.addAddress(wanted.ifname, ipv6.address);
    if (ipv6.gateway !== null)
      guest.addRoute({ destination: '::/0', via: ipv6.gateway, link: wanted.ifname });
  });
}

function farEndThere(wanted: VethWanted): boolean {
  return Netlink.with(wanted.netns, (guest) => guest.link(wanted.ifname)?.mac === wanted.mac.toLowerCase());
}

/** The link when it is there and whole; a half-made one is deleted. @throws NetworkError nameTaken. */
function ownLink(netlink: Netlink, wanted: NicWanted): LinkInfo | null {
  const link = netlink.link(wanted.link);
  if (link === null || link.alias === wanted.alias) return link;
  if (link.alias === wanted.olderAlias) {
    netlink.setLink(wanted.link, { alias: wanted.alias });
    return link;
  }
  if (link.alias !== null) {
    throw new NetworkError(
      'nameTaken',
      `link ${wanted.link} belongs to ${link.alias}`,
      `remove link ${wanted.link}`,
    );
  }
  netlink.deleteLink(wanted.link);
  return null;
}

function join(netlink: Netlink, wanted: NicWanted): void {
  ipv6Disable(wanted.link);
  try {
    netlink.setLink(wanted.link, { master: wanted.bridge, mtu: wanted.mtu, up: true });
  } catch (error) {
    if (hasCode(error, EXFULL))
      throw new NetworkError(
        'bridgeFull',
        `${wanted.bridge} has all the nics that a bridge of Linux takes, 1,023`,
        'put further instances of this network on another host, or on a second network',
        error,
      );
    if (!hasCode(error, 'ENODEV')) throw error;
    throw new NetworkError(
      'unknownNetwork',
      `no bridge ${wanted.bridge} on this host`,
      'ensure the network first',
      error,
    );
  }
}
