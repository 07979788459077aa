import { mkdir, readdir, readFile, rm, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, macEncode, writeFileAtomic } from '@berth/linux';
import { HostNetworkSpec, type HostPort, NetworkId, portText } from '@berth/model';
import type { Lease } from './dnsmasq-config.js';
import {
  address6Text,
  addressParse,
  badSpec,
  type Subnet,
  type Subnet6,
  subnet6Holds,
  subnet6Parse,
  subnetHolds,
  subnetParse,
} from './subnet.js';

/** Refuses a network that no host could realise. @throws NetworkError badSpec. */
export function specCheck(input: HostNetworkSpec): HostNetworkSpec {
  const parsed = HostNetworkSpec.safeParse(input);
  if (!parsed.success) throw badSpec(parsed.error.message, parsed.error);
  const spec = parsed.data;
  const subnet = subnetParse(spec.cidr);
  if (!subnetHolds(subnet, spec.gateway))
    throw badSpec(`gateway ${spec.gateway} is no host address of ${spec.cidr}`);
  const seen = new Set<string>([`address ${addressParse(spec.gateway)}`]);
  if (spec.ipv6 !== undefined) seen.add(`address ${address6Text(spec.ipv6.gateway)}`);
  for (const lease of spec.leases) {
    if (!subnetHolds(subnet, lease.ipv4))
      throw badSpec(`${lease.name}: ${lease.ipv4} is no host address of ${spec.cidr}`);
    for (const key of leaseKeys(lease)) {
      if (seen.has(key))
        throw badSpec(`${lease.name}: an address of it, ${lease.mac} or the name is given twice`);
      seen.add(key);
    }
  }
  const subnet6 = subnet6Of(spec);
  for (const { name, ipv6 } of spec.leases)
    if (ipv6 !== undefined && (subnet6 === null || !subnet6Holds(subnet6, ipv6)))
      throw badSpec(`${name}: ${ipv6} is no host address of ${spec.ipv6?.cidr ?? 'a network without IPv6'}`);
  portsCheck(spec, subnet, subnet6);
  return spec;
}

/** The IPv6 of a network; null where it has none. @throws NetworkError badSpec */
function subnet6Of({ ipv6 }: HostNetworkSpec): Subnet6 | null {
  if (ipv6 === undefined) return null;
  const subnet = subnet6Parse(ipv6.cidr);
  if (!subnet6Holds(subnet, ipv6.gateway))
    throw badSpec(`gateway ${ipv6.gateway} is no host address of ${ipv6.cidr}`);
  return subnet;
}

/** @throws NetworkError badSpec */
function portsCheck(spec: HostNetworkSpec, subnet: Subnet, subnet6: Subnet6 | null): void {
  const seen = new Set<string>();
  for (const port of spec.ports ?? []) {
    if (!subnetHolds(subnet, port.ipv4) || addressParse(port.ipv4) === addressParse(spec.gateway))
      throw badSpec(`${portText(port)}: ${port.ipv4} is no guest's address of ${spec.cidr}`);
    const { ipv6 } = port;
    if (ipv6 !== undefined && (subnet6 === null || !isGuest6(subnet6, ipv6, spec)))
      throw badSpec(`${portText(port)}: ${ipv6} is no guest's address of ${spec.ipv6?.cidr ?? spec.cidr}`);
    if (seen.has(portText(port))) throw badSpec(`${portText(port)} is published twice`);
    seen.add(portText(port));
  }
}

const isGuest6 = (subnet: Subnet6, address: string, { ipv6 }: HostNetworkSpec): boolean =>
  subnet6Holds(subnet, address) && address6Text(address) !== address6Text(ipv6?.gateway ?? address);

/**
 * The leases to serve after a spec came in. A workload's journal may hold an old spec: with a revision, older leases are
 * ignored and newer ones replace all; without one nobody can tell, so leases are added, and a newcomer takes the place of
 * whatever had its name, MAC or address. Published ports and security groups go with them.
 */
export function leasesMerge(known: HostNetworkSpec | null, incoming: HostNetworkSpec): HostNetworkSpec {
  if (known === null || known.cidr !== incoming.cidr || known.ipv6?.cidr !== incoming.ipv6?.cidr)
    return sorted(incoming);
  if (incoming.revision !== undefined) {
    return (known.revision ?? -1) > incoming.revision
      ? {
          ...known,
          id: incoming.id,
          project: incoming.project,
          name: incoming.name,
          gateway: incoming.gateway,
        }
      : sorted(incoming);
  }
  const taken = new Set(incoming.leases.flatMap(leaseKeys));
  const kept = known.leases.filter((l) => !leaseKeys(l).some((key) => taken.has(key)));
  const revision = known.revision === undefined ? {} : { revision: known.revision };
  const ports = incoming.ports ?? [];
  const newer = new Set(ports.map(portText));
  const older = (known.ports ?? []).filter((p) => !newer.has(portText(p)));
  const groups = incoming.groups ?? known.groups;
  const merged = {
    ...incoming,
    ...revision,
    leases: [...kept, ...incoming.leases],
    ...(groups === undefined ? {} : { groups }),
  };
  return sorted(withPorts(merged, [...older, ...ports]));
}

function withPorts(
  { ports: _, ...spec }: HostNetworkSpec,
  ports: readonly HostPort[] | undefined,
): HostNetworkSpec {
  return ports === undefined || ports.length === 0 ? spec : { ...spec, ports: [...ports] };
}

function sorted(spec: HostNetworkSpec): HostNetworkSpec {
  return { ...spec, leases: [...spec.leases].sort((a, b) => addressParse(a.ipv4) - addressParse(b.ipv4)) };
}

function leaseKeys(lease: Lease): string[] {
  try {
    return [
      `name ${lease.name}`,
      `mac ${macEncode(lease.mac).toString('hex')}`,
      `address ${addressParse(lease.ipv4)}`,
      ...(lease.ipv6 === undefined ? [] : [`address ${address6Text(lease.ipv6)}`]),
    ];
  } catch (error) {
    throw badSpec(`${lease.name}: ${error instanceof Error ? error.message : String(error)}`, error);
  }
}

/** The networks a host realises, one file each; kept over agent restarts and reboots. */
export class LeaseBook {
  constructor(private readonly dir: string) {}

  async get(networkId: NetworkId): Promise<HostNetworkSpec | null> {
    try {
      return HostNetworkSpec.parse(JSON.parse(await readFile(this.path(networkId), 'utf8')));
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return null;
      throw error;
    }
  }

  /** Changes with every write of a network's file, by whomever; null when there is none. */
  async version(networkId: NetworkId): Promise<string | null> {
    const found = await stat(this.path(networkId), { bigint: true }).catch((error: unknown) => {
      if (hasCode(error, 'ENOENT')) return null;
      throw error;
    });
    return found === null ? null : `${found.ino} ${found.mtimeNs}`;
  }

  /** Every network known, whether it is realised at the moment or not. */
  async list(): Promise<HostNetworkSpec[]> {
    const names = await readdir(this.dir).catch((error: unknown) => {
      if (hasCode(error, 'ENOENT')) return [];
      throw error;
    });
    const ids = names.flatMap((name) => NetworkId.safeParse(name.replace(/\.json$/, '')).data ?? []);
    return (await Promise.all(ids.map((id) => this.get(id)))).filter((spec) => spec !== null);
  }

  /** Stores a spec with what `leasesMerge` keeps; returns what to serve. No write when nothing changed. */
  async update(spec: HostNetworkSpec): Promise<HostNetworkSpec> {
    const known = await this.get(spec.id);
    const merged = leasesMerge(known, spec);
    if (JSON.stringify(known) !== JSON.stringify(merged)) {
      await mkdir(this.dir, { recursive: true, mode: 0o755 });
      await writeFileAtomic(this.path(spec.id), JSON.stringify(merged));
    }
    return merged;
  }

  async remove(networkId: NetworkId): Promise<void> {
    await rm(this.path(networkId), { force: true });
    await rmdir(this.dir).catch((error: unknown) => {
      if (!hasCode(error, 'ENOTEMPTY', 'ENOENT')) throw error;
    });
  }

  private path(networkId: NetworkId): string {
    return join(this.dir, `${networkId}.json`);
  }
}
