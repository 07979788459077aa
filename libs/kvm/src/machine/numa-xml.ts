import type { DomainDocument } from './metadata.js';
import { mostVcpus, PLUG_NODE, type HostNode, type MachineNuma, type MachineSpec } from './machine-spec.js';
import { xml, type XmlElement } from './xml.js';

/* Nodes of a domain (libvirt, formatdomain: NUMA node tuning, CPU model and topology). */

/** As the kernel lists them: `0-3,8`. */
export function listText(numbers: readonly number[]): string {
  const parts: [number, number][] = [];
  for (const n of [...new Set(numbers)].sort((a, b) => a - b)) {
    const last = parts.at(-1);
    if (last?.[1] === n - 1) last[1] = n;
    else parts.push([n, n]);
  }
  return parts.map(([first, last]) => (first === last ? String(first) : `${first}-${last}`)).join(',');
}

type Divided = Pick<MachineSpec, 'numa' | 'vcpus' | 'vcpuPlug' | 'memoryMiB' | 'plug'>;

/** The processors of a node, by their places. */
function placesOf(spec: Divided, node: number): number[] {
  const each = mostVcpus(spec) / spec.numa.nodes;
  return Array.from({ length: each }, (_, i) => node * each + i);
}

/** Stated where there are several; and libvirt plugs memory only where it is said which node has what it boots with. */
export function cells(spec: Divided): XmlElement | null {
  const { numa, memoryMiB, plug } = spec;
  if (numa.nodes === 1 && plug === null) return null;
  const ids = Array.from({ length: numa.nodes }, (_, id) => id);
  return xml(
    'numa',
    {},
    ids.map((id) =>
      xml('cell', {
        ...{ id, cpus: listText(placesOf(spec, id)) },
        ...{ memory: memoryMiB / numa.nodes, unit: 'MiB' },
      }),
    ),
  );
}

/** A socket for each node. Stated where there are several, and where there can be more processors: places are the same under both drivers then. */
export function topology(spec: Divided): XmlElement | null {
  const { numa, vcpuPlug } = spec;
  if (numa.nodes === 1 && vcpuPlug === null) return null;
  return xml('topology', {
    ...{ sockets: numa.nodes, dies: 1, cores: mostVcpus(spec) / numa.nodes, threads: 1 },
  });
}

/** Where all of its threads may run; null for anywhere. */
export const affinity = ({ hosts }: MachineNuma): string | null =>
  hosts === null ? null : listText(allCpus(hosts));

export const allCpus = (hosts: readonly HostNode[]): number[] => hosts.flatMap(({ cpus }) => cpus);

/** Processors of each node by themselves, where it has several. */
export function pins(spec: Divided): XmlElement[] {
  const { hosts, nodes } = spec.numa;
  if (hosts === null || nodes === 1) return [];
  return hosts.flatMap(({ cpus }, node) =>
    placesOf(spec, node).map((vcpu) => xml('vcpupin', { vcpu, cpuset: listText(cpus) })),
  );
}

/** Pages of a node of its host, or none: they are nowhere else. */
export function memoryTuning(spec: Divided): XmlElement | null {
  const { hosts } = spec.numa;
  if (hosts === null) return null;
  const all = xml('memory', { mode: 'strict', nodeset: listText(hosts.map(({ id }) => id)) });
  if (cells(spec) === null) return xml('numatune', {}, all);
  return xml(
    'numatune',
    {},
    all,
    hosts.map(({ id }, node) => xml('memnode', { cellid: node, mode: 'strict', nodeset: id })),
  );
}

/** The node of memory that can be plugged. */
export const plugNode = (): XmlElement => xml('node', {}, String(PLUG_NODE));

/** Puts what binds a domain to nodes of its host as it is in another document of it. */
export function graftBinding(to: DomainDocument, from: DomainDocument): void {
  const root = to.documentElement;
  const first = (document: DomainDocument, tag: string) => document.getElementsByTagName(tag).item(0);
  if (root === null) return;
  const cpuset = first(from, 'vcpu')?.getAttribute('cpuset') ?? null;
  if (cpuset === null) first(to, 'vcpu')?.removeAttribute('cpuset');
  else first(to, 'vcpu')?.setAttribute('cpuset', cpuset);
  for (const old of [...to.getElementsByTagName('numatune')]) old.parentNode?.removeChild(old);
  const tuning = first(from, 'numatune');
  if (tuning !== null) root.appendChild(to.importNode(tuning, true));
  for (const pin of [...to.getElementsByTagName('vcpupin'), ...to.getElementsByTagName('emulatorpin')])
    pin.parentNode?.removeChild(pin);
  const fresh = [...from.getElementsByTagName('vcpupin')];
  if (fresh.length === 0) return;
  let cputune = first(to, 'cputune');
  if (cputune === null) {
    cputune = to.createElement('cputune');
    root.appendChild(cputune);
  }
  for (const pin of fresh) cputune.appendChild(to.importNode(pin, true));
}
