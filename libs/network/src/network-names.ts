import { createHash } from 'node:crypto';
import { InstanceId, ipv6Text, NetworkId, NicId } from '@berth/model';
import { ipv6Encode } from '@berth/linux';
import type { LimitDirection } from './nic-limits.js';

/** What the names of all bridges of Berth begin with; firewalls of others are told to let these through. */
export const BRIDGE_PREFIX = 'bb';

/** The incarnation a nic belongs to. */
export interface NicOwner {
  readonly instanceId: InstanceId;
  readonly epoch: number;
}

/** A virtual machine's nic, or a container's. */
export type NicKind = 'tap' | 'veth';

export interface NicIdentity extends NicOwner {
  readonly nicId: NicId;
  readonly networkId: NetworkId;
  /** What it may send as; null for a nic that an agent of before made. */
  readonly addresses: NicAddresses | null;
}

export interface NicAddresses {
  readonly mac: string;
  readonly ipv4: string;
  /** Absent where its network has no IPv6. */
  readonly ipv6?: string | undefined;
}

/** What names a nic of an incarnation. */
export type NicName = Pick<NicIdentity, 'instanceId' | 'epoch' | 'nicId'>;

/**
 * Names of what one agent makes on a host. Interface names have 15 characters, so they carry hashes (of the agent's
 * state folder and of the object); the whole identity stands in the link's ifalias, which is what is believed.
 */
export class NetworkNames {
  private readonly tag: string;
  constructor(stateDir: string) {
    this.tag = hash(stateDir, 8);
  }

  bridge(networkId: NetworkId): string {
    return this.name(BRIDGE_PREFIX, networkId);
  }

  table(networkId: NetworkId): string {
    return `berth_${this.tag}_${hash(networkId, 10)}`;
  }

  /** Table of the guard of all nics of this agent, in the family bridge, and what the names of these nics begin with. */
  guard(): { readonly table: string; readonly prefixes: readonly string[] } {
    const prefixes = ['bt', 'bv'].map((kind) => `${kind}${this.tag.slice(0, 3)}`);
    return { table: `berth_${this.tag}_guard`, prefixes };
  }

  /** Stable MAC of a bridge; without one a bridge takes, and changes to, the lowest of its ports. */
  bridgeMac(networkId: NetworkId): string {
    return `02:${(hash(`${this.tag} ${networkId}`, 10).match(/../g) ?? []).join(':')}`;
  }

  tap(nic: NicName): string {
    return this.name('bt', `${nic.instanceId} ${nic.epoch} ${nic.nicId}`);
  }

  veth(nic: NicName): string {
    return this.name('bv', `${nic.instanceId} ${nic.epoch} ${nic.nicId}`);
  }

  /** The link at which one direction of a nic waits for its turn, where it is limited. */
  limiter(nic: NicName, direction: LimitDirection): string {
    return this.name(direction === 'ingress' ? 'bi' : 'be', `${nic.instanceId} ${nic.epoch} ${nic.nicId}`);
  }

  /** What a link of ours is, by its name. */
  kindOf(link: string): NicKind {
    return link.startsWith('bt') ? 'tap' : 'veth';
  }

  /** Whether a link without an alias is a nic of this agent, or a part of one, whose making was cut short. */
  isHalfMade(link: { readonly name: string; readonly alias: string | null }): boolean {
    return link.alias === null && new RegExp(`^b[tvie]${this.tag.slice(0, 3)}[0-9a-f]{10}$`).test(link.name);
  }

  networkAlias(networkId: NetworkId): string {
    return `berth:${this.tag}:network:${networkId}`;
  }

  limiterAlias({ instanceId, epoch, nicId }: NicName, direction: LimitDirection): string {
    return `berth:${this.tag}:limit:${instanceId}:${epoch}:${nicId}:${direction}`;
  }

  /** Reads a limiter's alias back: whose nic it belongs to; null when it is none of this agent. */
  limiterOf(alias: string | null): NicName | null {
    const [scheme, tag, kind, instance, epochText, nic, ...rest] = alias?.split(':') ?? [];
    if (scheme !== 'berth' || tag !== this.tag || kind !== 'limit' || rest.length !== 1) return null;
    const instanceId = InstanceId.safeParse(instance).data;
    const nicId = NicId.safeParse(nic).data;
    const epoch = Number(epochText);
    if (!instanceId || !nicId || !Number.isSafeInteger(epoch)) return null;
    return { instanceId, epoch, nicId };
  }

  nicAlias(nic: NicIdentity): string {
    const sends = nic.addresses === null ? [] : addressWords(nic.addresses);
    const { instanceId, epoch, nicId, networkId } = nic;
    return ['berth', this.tag, 'nic', instanceId, epoch, nicId, networkId, ...sends].join(':');
  }

  /** Reads a network's alias back; null when it is not one of this agent. */
  networkOf(alias: string | null): NetworkId | null {
    const [scheme, tag, kind, id, rest] = alias?.split(':') ?? [];
    if (scheme !== 'berth' || tag !== this.tag || kind !== 'network' || rest !== undefined) return null;
    return NetworkId.safeParse(id).data ?? null;
  }

  /** Reads a nic's alias back; null when it is not one of this agent. */
  nicOf(alias: string | null): NicIdentity | null {
    const [scheme, tag, kind, instance, epochText, nic, network, ...sends] = alias?.split(':') ?? [];
    if (scheme !== 'berth' || tag !== this.tag || kind !== 'nic') return null;
    const instanceId = InstanceId.safeParse(instance).data;
    const nicId = NicId.safeParse(nic).data;
    const networkId = NetworkId.safeParse(network).data;
    const epoch = Number(epochText);
    const addresses = sends.length === 0 ? null : addressesOf(sends);
    if (!instanceId || !nicId || !networkId || !Number.isSafeInteger(epoch) || addresses === undefined)
      return null;
    return { instanceId, epoch, nicId, networkId, addresses };
  }

  private name(kind: string, identity: string): string {
    return `${kind}${this.tag.slice(0, 3)}${hash(identity, 10)}`;
  }
}

/** `020000000001`, `10.0.0.2` and, where there is IPv6, its 32 digits: colons part the words of an alias. */
function addressWords({ mac, ipv4, ipv6 }: NicAddresses): string[] {
  const digits = ipv6 === undefined ? [] : [ipv6Encode(ipv6).toString('hex')];
  return [mac.replaceAll(':', ''), ipv4, ...digits];
}

/** Reads them back; undefined when it is something else. */
function addressesOf([mac = '', ipv4 = '', ipv6, rest]: readonly string[]): NicAddresses | undefined {
  if (!/^[0-9a-f]{12}$/.test(mac) || !/^\d+(\.\d+){3}$/.test(ipv4) || rest !== undefined) return undefined;
  if (ipv6 !== undefined && !/^[0-9a-f]{32}$/.test(ipv6)) return undefined;
  return {
    mac: mac.match(/../g)?.join(':') ?? '',
    ipv4,
    ...(ipv6 === undefined ? {} : { ipv6: ipv6Text(BigInt(`0x${ipv6}`)) }),
  };
}

/** First hex digits of SHA-256. */
export function hash(text: string, digits: number): string {
  return createHash('sha256').update(text).digest('hex').slice(0, digits);
}

/** DNS domain of a project network. `.internal` is reserved for private use (ICANN, 2024). */
export function networkDomain(network: { readonly name: string; readonly project: string }): string {
  return `${network.name}.${network.project}.berth.internal`;
}
