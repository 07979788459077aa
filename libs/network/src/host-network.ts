import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Netlink } from '@berth/linux';
import type { HostNetworkSpec, NetworkId, NicId, NicLimits, NicUsage, Traffic } from '@berth/model';
import { bridgeEnsure, bridgeFilter, forwardingEnable, loopbackRoute } from './bridge.js';
import { Dnsmasq, hostResolvFile } from './dnsmasq.js';
import { forwarding6Enable } from './ipv6-host.js';
import { LeaseBook, specCheck } from './lease-book.js';
import { NetworkError } from './network-error.js';
import {
  networkDomain,
  NetworkNames,
  type NicIdentity,
  type NicKind,
  type NicName,
  type NicOwner,
} from './network-names.js';
import type { GuardedNic } from './nft-guard.js';
import { nicsLimit } from './nic-limits.js';
import { nicsTogether, nicUsage } from './nic-usage.js';
import { guardEnsure, guardLetGo, guardLetIn, guardRemove, nftEnsure, nftRemove } from './nft.js';
import { tapAttach, vethAttach } from './nics.js';
import { runDirCheck } from './run-dir.js';
import {
  badSpec,
  type Subnet,
  type Subnet6,
  subnet6Holds,
  subnet6Parse,
  subnetHolds,
  subnetParse,
} from './subnet.js';

/** A nic whose MAC and addresses the control plane gave; these are bare. */
export interface AttachedNicSpec {
  readonly id: NicId;
  readonly networkId: NetworkId;
  readonly mac: string;
  readonly ipv4: string;
  /** Absent where its network has no IPv6. */
  readonly ipv6?: string | undefined;
}

export interface NicInventoryEntry extends NicIdentity {
  /** Name of the link on the host. */
  readonly ifname: string;
  readonly kind: NicKind;
}

export interface HostNetworkOptions {
  /** Kept over reboots: what each network's leases are. */
  readonly stateDir: string;
  /** Gone at a reboot; DNS and DHCP files. Every folder above it must let other users pass (mode o+x). */
  readonly runDir: string;
  /** MTU of bridges and nics. Default 1500. */
  readonly mtu?: number;
  /** Unprivileged user of the DNS and DHCP server. Default `dnsmasq` (made by Debian's dnsmasq-base). */
  readonly dnsUser?: string;
  /** The host's resolv.conf. Default /etc/resolv.conf; names are forwarded only when it names a server. */
  readonly resolvFile?: string;
}

/** How long a network's nft table counts as seen; a changed spec or bridge looks at once. */
const RULES_SEEN_MS = 10_000;

/**
 * The project networks of one host, in the network namespace this process runs in: per network a bridge with the
 * gateway address, a DNS and DHCP server, and an nftables table. Links are found again by their ifalias, so nothing is
 * lost with the process. Every method may be repeated. One object per state folder: its calls wait for each other.
 */
export class HostNetwork {
  private readonly names: NetworkNames;
  private readonly book: LeaseBook;
  private readonly mtu: number;
  /** One at a time per network, and one that changes the guard. */
  private readonly queues = new Map<string, Promise<unknown>>();
  /** What the last accepted spec of a network came to: a repeat needs no checking and no reading. */
  private readonly accepted = new Map<string, { key: string; spec: HostNetworkSpec }>();
  private readonly rulesSeen = new Map<string, { key: string; at: number }>();

  constructor(private readonly options: HostNetworkOptions) {
    this.names = new NetworkNames(options.stateDir);
    this.book = new LeaseBook(join(options.stateDir, 'networks'));
    this.mtu = options.mtu ?? 1500;
  }

  /**
   * Realises a network, serves its leases and publishes its ports; on return names resolve and DHCP answers. What is in
   * place is left alone (under 2 ms). Older leases and ports than known are ignored: see `HostNetworkSpec.revision`.
   * @throws NetworkError.
   */
  ensure(input: HostNetworkSpec): Promise<{ readonly bridge: string }> {
    return this.exclusive(input.id, async () => {
      const spec = await this.accept(input);
      const subnet = subnetParse(spec.cidr);
      const ipv6 = ipv6Of(spec);
      const bridge = this.names.bridge(spec.id);
      const bridgeIndex = bridgeEnsure({
        name: bridge,
        alias: this.names.networkAlias(spec.id),
        mac: this.names.bridgeMac(spec.id),
        mtu: this.mtu,
        gateway: spec.gateway,
        subnet,
        ipv6,
      });
      forwardingEnable();
      if (ipv6 !== null) forwarding6Enable();
      // The rules stand before the first guest can send.
      await this.rules(spec, { subnet, ipv6 }, bridgeIndex);
      loopbackRoute(bridge, spec.ports !== undefined && spec.ports.length > 0);
      const dir = this.dir(spec.id);
      await mkdir(dir, { recursive: true, mode: 0o755 });
      runDirCheck(dir);
      await new Dnsmasq(dir).ensure({
        bridge,
        bridgeIndex,
        subnet,
        gateway: spec.gateway,
        ipv6,
        wayOut: spec.internal !== true,
        domain: networkDomain(spec),
        mtu: this.mtu,
        user: this.options.dnsUser ?? 'dnsmasq',
        resolvFile: spec.internal === true ? null : hostResolvFile(this.options.resolvFile),
        leases: spec.leases,
      });
      return { bridge };
    });
  }

  /**
   * Realises every known network again, as after a reboot or the death of a DNS server. Each answers for itself:
   * `error` is null where it stands. For the agent's start and its resynchronisation.
   */
  async repair(): Promise<{ readonly networkId: NetworkId; readonly error: unknown }[]> {
    const results = [];
    for (const spec of await this.book.list()) {
      const error: unknown = await this.ensure(spec).then(
        () => null,
        (cause: unknown) => cause,
      );
      results.push({ networkId: spec.id, error });
    }
    return results;
  }

  /** A tap on the network's bridge that `access` may open; for a guest that configures itself by DHCP. */
  attachTap(
    owner: NicOwner,
    nic: AttachedNicSpec,
    access: { readonly uid: number; readonly gid?: number },
  ): Promise<{ readonly ifname: string }> {
    return this.attach(owner, nic, (identity) => {
      const link = this.names.tap(identity);
      return { link, make: () => tapAttach({ link, ...this.joining(identity), ...access }) };
    });
  }

  /**
   * A veth into a network namespace, there named `ifname`, with MAC and address set and loopback up; and with the default
   * route, unless that is another nic's.
   */
  attachVeth(
    owner: NicOwner,
    nic: AttachedNicSpec,
    target: { readonly netns: string; readonly ifname: string; readonly defaultRoute?: boolean },
  ): Promise<{ readonly ifname: string }> {
    const { netns, ifname, defaultRoute = true } = target;
    return this.attach(owner, nic, (identity, spec) => {
      const link = this.names.veth(identity);
      const wanted = {
        link,
        ...this.joining(identity),
        netns,
        ifname,
        mac: nic.mac,
        address: `${nic.ipv4}/${subnetParse(spec.cidr).prefix}`,
        gateway: defaultRoute ? spec.gateway : null,
        ipv6: veth6(spec, nic, defaultRoute),
      };
      return { link, make: () => vethAttach(wanted) };
    });
  }

  /** Nothing that it sends passes until the guard lets it in, so both are done at once. */
  private attach(
    owner: NicOwner,
    nic: AttachedNicSpec,
    plan: (
      identity: NicIdentity,
      spec: HostNetworkSpec,
    ) => { readonly link: string; readonly make: () => void },
  ): Promise<{ readonly ifname: string }> {
    return this.guarding(async () => {
      const spec = await this.known(nic);
      const identity = identityOf(owner, nic);
      const { link, make } = plan(identity, spec);
      const { mac, ipv4, ipv6 } = nic;
      const letIn = guardLetIn(this.names.guard(), { ifname: link, mac, ipv4, ipv6 });
      await Promise.all([letIn, (async () => make())()]);
      if (limitsIn(spec).has(nic.ipv4)) await this.limit(spec, (one) => one.nicId === nic.id);
      return { ifname: link };
    });
  }

  /** Deletes every nic of one epoch, and what an agent that died left half-made. Detaching what never was is no error. */
  async detach(owner: NicOwner): Promise<void> {
    await this.detachOf(ownedBy(owner));
  }

  /** Deletes one nic of an epoch. One that is not there is no error. */
  async detachNic(owner: NicOwner, nicId: NicId): Promise<void> {
    await this.detachOf(ownedBy(owner, nicId));
  }

  /**
   * Nothing passes one nic of an epoch any more, either way, until it is attached again. One that is not there is no error:
   * for a guest that is to let go of it, and may take its time.
   */
  async silence(owner: NicOwner, nicId: NicId): Promise<void> {
    const own = this.nics().filter(ownedBy(owner, nicId));
    Netlink.with(undefined, (netlink) => {
      for (const { ifname } of own) netlink.setLink(ifname, { up: false });
    });
  }

  private async detachOf(which: (nic: NicName) => boolean): Promise<void> {
    const links = this.links(); // once: there are as many as nics on the host
    const own = this.nics(links).filter(which);
    const halfMade = links.filter((link) => this.names.isHalfMade(link));
    const limiters = this.limiters(links).filter(({ nic }) => which(nic));
    await linksDelete([...own.map((nic) => nic.ifname), ...halfMade.map((link) => link.name)]);
    await this.guarding(async () => {
      // After the nics, and by the names they would have now: a nic that is there may be limited at any time.
      const names = own.flatMap((nic) => [
        this.names.limiter(nic, 'ingress'),
        this.names.limiter(nic, 'egress'),
      ]);
      await linksDelete([...new Set([...names, ...limiters.map(({ name }) => name)])]);
      await guardLetGo(this.names.guard(), own.flatMap(guardedOf));
    });
  }

  /**
   * Takes a network away from this host unless a nic is attached (`released: false`). Repeating it is no error. A
   * workload between `ensure` and its attach is not seen here: `used` tells of such, and is asked when no `ensure` is under way
   * and none can begin before the network is gone.
   */
  release(networkId: NetworkId, used: () => boolean = () => false): Promise<{ readonly released: boolean }> {
    return this.exclusive(networkId, async () => {
      if (used()) return { released: false };
      const released = await this.takeDown(networkId);
      if (released) await this.book.remove(networkId);
      return { released };
    });
  }

  /**
   * Takes down the nics of epochs that are over, and every network to which no other nic is attached; and keeps what is known
   * of these, so that `ensure` and `repair` make them again: for an agent that ends, behind which nothing is to stay that serves nobody.
   * No workload may be on its way to a start. What cannot be taken down holds up nothing else. @throws AggregateError
   */
  async rest(over: (owner: NicOwner) => boolean): Promise<void> {
    const errors: unknown[] = [];
    const tried = (work: Promise<unknown>) => work.catch((error: unknown) => errors.push(error));
    for (const nic of this.nics().filter(over)) await tried(this.detach(nic));
    for (const { id } of await this.book.list()) await tried(this.exclusive(id, () => this.takeDown(id)));
    if (errors.length > 0)
      throw new AggregateError(errors, `${errors.length} parts of networks were not taken down`);
  }

  /** Bridge, server and rules of a network; false, and nothing done, where a nic is attached. */
  private async takeDown(networkId: NetworkId): Promise<boolean> {
    if (this.nics().some((nic) => nic.networkId === networkId)) return false;
    await new Dnsmasq(this.dir(networkId)).remove();
    await rmdir(join(this.options.runDir, 'networks')).catch(() => undefined); // others are still there
    await linksDelete([this.names.bridge(networkId)]);
    await nftRemove(this.names.table(networkId));
    await this.guarding(async () => {
      await linksDelete(this.strayLimiters());
      if ((await this.networks()).length === 0) await guardRemove(this.names.guard().table);
    });
    this.rulesSeen.delete(this.names.table(networkId));
    this.accepted.delete(networkId);
    return true;
  }

  /** Every nic of this agent on the host, by the links' own word. */
  async inventory(): Promise<NicInventoryEntry[]> {
    return this.nics();
  }

  /** What went through the nics of each epoch, as its guest sees it: what the host's end sends, the guest receives. */
  async traffic(): Promise<readonly (NicOwner & Traffic)[]> {
    const byOwner = new Map<string, { owner: NicOwner; nics: NicUsage[] }>();
    for (const link of this.links()) {
      const nic = this.names.nicOf(link.alias);
      if (nic === null) continue;
      const { instanceId, epoch } = nic;
      const key = `${instanceId}/${epoch}`;
      const found = byOwner.get(key) ?? { owner: { instanceId, epoch }, nics: [] };
      found.nics.push(nicUsage(nic, link));
      byOwner.set(key, found);
    }
    return [...byOwner.values()].map(({ owner, nics }) => ({ ...owner, ...nicsTogether(nics), nics }));
  }

  /** Every network of this agent that has a bridge on the host. */
  async networks(): Promise<{ readonly networkId: NetworkId; readonly bridge: string }[]> {
    return this.links().flatMap((link) => {
      const networkId = this.names.networkOf(link.alias);
      return networkId === null ? [] : [{ networkId, bridge: link.name }];
    });
  }

  /** What a container writes to its resolv.conf: name server and search domain. Null before `ensure`. */
  async resolver(
    networkId: NetworkId,
  ): Promise<{ readonly nameserver: string; readonly search: string } | null> {
    const spec = await this.book.get(networkId);
    return spec === null ? null : { nameserver: spec.gateway, search: networkDomain(spec) };
  }

  private async accept(input: HostNetworkSpec): Promise<HostNetworkSpec> {
    const text = JSON.stringify(input);
    const known = this.accepted.get(input.id);
    if (known !== undefined && known.key === `${await this.book.version(input.id)} ${text}`)
      return known.spec;
    const spec = await this.book.update(specCheck(input));
    this.accepted.set(input.id, { key: `${await this.book.version(input.id)} ${text}`, spec });
    return spec;
  }

  private nics(links = this.links()): NicInventoryEntry[] {
    return links.flatMap((link) => {
      const nic = this.names.nicOf(link.alias);
      return nic === null ? [] : [{ ...nic, ifname: link.name, kind: this.names.kindOf(link.name) }];
    });
  }

  /** Brings the limits of nics of a network to what its leases say, and takes away what limits no nic any more. */
  private async limit(spec: HostNetworkSpec, which: (nic: NicIdentity) => boolean): Promise<void> {
    const limits = limitsIn(spec);
    const links = this.links();
    const limited = new Set(this.limiters(links).map(({ nic }) => nic.nicId));
    const nics = this.nics(links).flatMap((nic) => {
      const wanted = limits.get(nic.addresses?.ipv4 ?? '') ?? {};
      const concerned = Object.keys(wanted).length > 0 || limited.has(nic.nicId);
      return concerned && nic.networkId === spec.id && which(nic)
        ? [{ nic, link: nic.ifname, limits: wanted }]
        : [];
    });
    await linksDelete([...nicsLimit(this.names, nics, this.mtu), ...this.strayLimiters(links)]);
  }

  private limiters(links: ReturnType<HostNetwork['links']>) {
    return links.flatMap(({ name, alias }) => {
      const nic = this.names.limiterOf(alias);
      return nic === null ? [] : [{ name, nic }];
    });
  }

  /** Left by an agent that died, or by a nic that went with its namespace. */
  private strayLimiters(links = this.links()): string[] {
    const nics = new Set(this.nics(links).map((nic) => `${nic.nicId} ${nic.epoch}`));
    return this.limiters(links).flatMap(({ name, nic }) =>
      nics.has(`${nic.nicId} ${nic.epoch}`) ? [] : [name],
    );
  }

  private links() {
    return Netlink.with(undefined, (netlink) => netlink.links());
  }

  private joining(nic: NicIdentity) {
    const olderAlias = this.names.nicAlias({ ...nic, addresses: null });
    const bridge = this.names.bridge(nic.networkId);
    return { alias: this.names.nicAlias(nic), olderAlias, bridge, mtu: this.mtu };
  }

  private async known(nic: AttachedNicSpec): Promise<HostNetworkSpec> {
    const spec = await this.book.get(nic.networkId);
    if (spec === null) {
      const what = `network ${nic.networkId} is not on this host`;
      throw new NetworkError('unknownNetwork', what, 'ensure the network first');
    }
    if (!subnetHolds(subnetParse(spec.cidr), nic.ipv4))
      throw badSpec(`${nic.ipv4} is no host address of ${spec.cidr}`);
    const subnet6 = ipv6Of(spec)?.subnet;
    if (nic.ipv6 !== undefined && (subnet6 === undefined || !subnet6Holds(subnet6, nic.ipv6)))
      throw badSpec(`${nic.ipv6} is no host address of ${spec.ipv6?.cidr ?? 'a network without IPv6'}`);
    return spec;
  }

  private async rules(
    spec: HostNetworkSpec,
    subnets: { readonly subnet: Subnet; readonly ipv6: Ipv6Parts | null },
    bridgeIndex: number,
  ): Promise<void> {
    const { id, gateway, ports = [], groups = [] } = spec;
    const members = spec.leases.flatMap(({ ipv4, ipv6, groups: of }) =>
      of === undefined ? [] : { ipv4, ipv6, groups: of },
    );
    const secondary = spec.leases
      .filter((lease) => lease.secondary)
      .map(({ ipv4, ipv6 }) => ({ ipv4, ipv6 }));
    const bridge = this.names.bridge(id);
    const settings = {
      table: this.names.table(id),
      ...{ bridge, ...subnets, gateway, ports, groups, members, secondary, internal: spec.internal === true },
    };
    const key = JSON.stringify([settings, [...limitsIn(spec)], bridgeIndex]);
    const seen = this.rulesSeen.get(settings.table);
    if (seen?.key === key && performance.now() - seen.at < RULES_SEEN_MS) return;
    if (members.length > 0) bridgeFilter(bridge);
    await Promise.all([
      nftEnsure(settings),
      this.guarding(() => guardEnsure(this.names.guard(), () => this.guarded())),
    ]);
    await this.guarding(() => this.limit(spec, () => true));
    this.rulesSeen.set(settings.table, { key, at: performance.now() });
  }

  /** All nics of this agent, as their links say. */
  private guarded() {
    const all = this.nics();
    const unguarded = all.filter((nic) => nic.addresses === null).map((nic) => nic.ifname);
    return { nics: all.flatMap(guardedOf), unguarded };
  }

  /** Nobody comes or goes while the guard is made anew from the links that are there. */
  private guarding<T>(work: () => Promise<T>): Promise<T> {
    return this.exclusive('guard', work);
  }

  private dir(networkId: NetworkId): string {
    return join(this.options.runDir, 'networks', networkId);
  }

  private exclusive<T>(networkId: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.queues.get(networkId) ?? Promise.resolve()).then(work, work);
    const settled = turn
      .catch(() => undefined)
      .then(() => {
        if (this.queues.get(networkId) === settled) this.queues.delete(networkId);
      });
    this.queues.set(networkId, settled);
    return turn;
  }
}

/** One after the other: each holds the kernel's routing lock anyway. */
async function linksDelete(names: readonly string[]): Promise<void> {
  const netlink = Netlink.open();
  try {
    for (const name of names) await netlink.deleteLinkSoon(name);
  } finally {
    netlink.close();
  }
}

interface Ipv6Parts {
  readonly subnet: Subnet6;
  readonly gateway: string;
}

/** The IPv6 of a network; null where it has none. */
function ipv6Of({ ipv6 }: HostNetworkSpec): Ipv6Parts | null {
  return ipv6 === undefined ? null : { subnet: subnet6Parse(ipv6.cidr), gateway: ipv6.gateway };
}

function veth6(spec: HostNetworkSpec, { ipv6 }: AttachedNicSpec, defaultRoute: boolean) {
  const of = ipv6Of(spec);
  if (of === null || ipv6 === undefined) return null;
  return { address: `${ipv6}/${of.subnet.prefix}`, gateway: defaultRoute ? of.gateway : null };
}

function identityOf(owner: NicOwner, nic: AttachedNicSpec): NicIdentity {
  const { ipv4, ipv6 } = nic;
  const addresses = { mac: nic.mac.toLowerCase(), ipv4, ...(ipv6 === undefined ? {} : { ipv6 }) };
  const { instanceId, epoch } = owner;
  return { instanceId, epoch, nicId: nic.id, networkId: nic.networkId, addresses };
}

/** What may pass the nics of a network, by their addresses. */
function limitsIn({ leases }: HostNetworkSpec): ReadonlyMap<string, NicLimits> {
  return new Map(leases.flatMap(({ ipv4, limits }) => (limits === undefined ? [] : [[ipv4, limits]])));
}

/** Nics of an epoch, or the one of them. */
const ownedBy =
  ({ instanceId, epoch }: NicOwner, nicId?: NicId) =>
  (nic: NicName): boolean =>
    nic.instanceId === instanceId && nic.epoch === epoch && (nicId === undefined || nic.nicId === nicId);

function guardedOf({ ifname, addresses }: NicInventoryEntry): GuardedNic[] {
  return addresses === null ? [] : [{ ifname, ...addresses }];
}
