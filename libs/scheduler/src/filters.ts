import {
  attachFacet,
  type AccelVerdict,
  bindableMiB,
  displaysOf,
  type FilterName,
  firmwareFacet,
  firmwareKind,
  guestDnsFacet,
  HOST_PASSTHROUGH,
  type InstanceSpec,
  microvmSecretsFacet,
  mountsFacet,
  nestingFacet,
  numaNeed,
  numaRoom,
  portRefusal,
  portsOf,
  portText,
  probesFacet,
  secretsFacet,
  resourcesRefusal,
  securityFacet,
  systemFacet,
  hostPathFits,
  hostPathsFor,
} from '@berth/model';
import type { HostSnapshot, PlacementRequest } from './snapshot.js';

/** Why a host cannot take an instance. */
export interface Refusal {
  readonly filter: FilterName;
  readonly need: string;
  readonly have: string;
  readonly message: string;
  /** 0 to 1: how close the host came; orders the nearest misses. */
  readonly closeness: number;
}

/** A filter is a name and a check that explains itself; null means the host passes. */
interface Filter {
  readonly name: FilterName;
  readonly check: (host: HostSnapshot, request: PlacementRequest) => Omit<Refusal, 'filter'> | null;
}

const refuse = (need: string, have: string, message: string, closeness = 0): Omit<Refusal, 'filter'> => ({
  need,
  have,
  message,
  closeness,
});

/** Refuses when fewer than `need` of a resource are free. */
function room(
  name: 'cpu' | 'memory' | 'disk',
  unit: string,
  free: (h: HostSnapshot) => number,
  need: (r: PlacementRequest) => number,
): Filter {
  return {
    name,
    check: (h, r) => {
      const wanted = need(r);
      const have = free(h);
      if (wanted <= have) return null;
      const closeness = Math.max(0, have) / wanted;
      return refuse(
        `${wanted} ${unit}`,
        `${Math.max(0, have)} ${unit}`,
        `needs ${wanted} ${unit} of ${name}, ${Math.max(0, have)} free`,
        closeness,
      );
    },
  };
}

/** Devices that not every host has, by their facets. */
const devices: readonly {
  readonly facet: string;
  readonly need: string;
  readonly have: string;
  readonly wanted: (spec: InstanceSpec) => boolean;
  readonly message: string;
}[] = [
  {
    facet: 'tpm',
    need: 'tpm',
    have: 'no tpm',
    wanted: (spec) => spec.tpm === true,
    message:
      'it has no TPM emulator: install the package swtpm there; its agent may also be older than this API',
  },
  {
    facet: 'cdroms',
    need: 'cdroms',
    have: 'no cdroms',
    wanted: (spec) => (spec.cdroms ?? []).length > 0,
    message: 'it gives no machine a CD-ROM drive: its agent is older than this API',
  },
  {
    facet: probesFacet,
    need: 'probes',
    have: 'no probes',
    wanted: (spec) => Object.keys(spec.probes ?? {}).length > 0,
    message: 'it asks no probes: its agent is older than this API',
  },
  {
    facet: 'numa',
    need: 'numa',
    have: 'no numa',
    wanted: (spec) => spec.numa !== undefined,
    message: 'it divides no machine into nodes: its agent is older than this API',
  },
  {
    facet: securityFacet,
    need: 'security',
    have: 'no security',
    wanted: (spec) => spec.security !== undefined,
    message: 'its containers take no security: its agent is older than this API',
  },
  {
    facet: nestingFacet,
    need: 'nesting',
    have: 'no nesting',
    wanted: (spec) => spec.security?.nesting !== undefined,
    message: 'its containers hold none of their own: its agent is older than this API',
  },
  {
    facet: systemFacet,
    need: 'system containers',
    have: 'none',
    wanted: (spec) => spec.system === true,
    message:
      'it has no cgroup v2 tree to give to the init of a container: mount one there (hybrid will do), then berth doctor; its agent may also be older than this API',
  },
  {
    facet: guestDnsFacet,
    need: 'dns',
    have: "its networks' own",
    wanted: (spec) => spec.dns !== undefined,
    message: 'its guests find names as their networks have it: its agent is older than this API',
  },
  {
    facet: secretsFacet,
    need: 'secrets',
    have: 'no secrets',
    wanted: (spec) => spec.isolation === 'container' && (spec.secrets ?? []).length > 0,
    message: 'its containers have no secrets: its agent is older than this API',
  },
  {
    facet: microvmSecretsFacet,
    need: 'secrets of microVMs',
    have: 'no secrets of microVMs',
    wanted: (spec) => spec.isolation === 'microvm' && (spec.secrets ?? []).length > 0,
    message:
      'its microVMs have no secrets: its agent, or what they boot from, is older than this API; ./berth up or tools/microvm/build makes that anew',
  },
  {
    facet: mountsFacet,
    need: 'volumes of containers',
    have: 'none',
    wanted: (spec) => spec.isolation === 'container' && spec.volumes.length > 0,
    message: 'its containers have no volumes: its agent is older than this API',
  },
  {
    facet: 'vsock',
    need: 'vsock',
    have: 'no vsock',
    wanted: (spec) => spec.vsock === true,
    message:
      'it gives no machine a vsock device: load the kernel module vhost_vsock there (modprobe vhost_vsock), and look at its doctor; its agent may also be older than this API',
  },
  {
    facet: 'stopSignal',
    need: 'stop signal',
    have: "the image's own",
    wanted: (spec) => spec.process?.stopSignal !== undefined,
    message: "it stops instances by their images' signals alone: its agent is older than this API",
  },
  {
    facet: 'init',
    need: 'init',
    have: 'no init',
    wanted: (spec) => spec.process?.init === true,
    message:
      'it has no first process to put beside a program: ./berth up or tools/microvm/build makes it there, and berth doctor tells whether it is; its agent may also be older than this API',
  },
  {
    facet: attachFacet,
    need: 'attach',
    have: 'no attach',
    wanted: ({ process }) => process?.stdin === true || process?.tty === true,
    message: 'nobody can attach to its containers: its agent is older than this API',
  },
  {
    facet: 'displays',
    need: 'several displays',
    have: 'one display',
    wanted: (spec) => displaysOf(spec) > 1,
    message:
      'its machines have one display at most: its QEMU has no VNC or no bochs-display, or its agent is older than this API',
  },
];

/** Devices that its operator lends to containers. */
function lent({ capabilities }: HostSnapshot, { spec }: PlacementRequest): Omit<Refusal, 'filter'> | null {
  const offered = capabilities?.devices ?? [];
  const missing = (spec.devices ?? []).filter((name) => !offered.includes(name));
  if (missing.length === 0) return null;
  return refuse(
    `devices ${missing.join(', ')}`,
    offered.join(', ') || 'none',
    `its operator offers no device ${missing.join(', ')}: name it under devices in its agent.yaml, where the device is there`,
  );
}

/** Directories that its operator lets this project's containers mount. Of those for others nothing is said. */
function mountable(
  { capabilities }: HostSnapshot,
  { spec, project }: PlacementRequest,
): Omit<Refusal, 'filter'> | null {
  const offered = hostPathsFor(capabilities?.hostPaths ?? [], project);
  const missing = (spec.hostPaths ?? []).filter((use) => !offered.some((offer) => hostPathFits(offer, use)));
  if (missing.length === 0) return null;
  const shown = (name: string, readOnly: boolean): string => (readOnly ? name : `${name} to write`);
  const wanted = [...new Set(missing.map((use) => shown(use.name, use.readOnly)))].join(', ');
  return refuse(
    `host paths ${wanted}`,
    offered.map((offer) => shown(offer.name, offer.readOnly)).join(', ') || 'none',
    `its operator does not offer this project ${wanted}: name it under hostPaths in its agent.yaml, where the directory is there`,
  );
}

/** What a host has left. A host without known capacity has nothing. */
export function freeOf(h: HostSnapshot): { cpuMillis: number; memoryMiB: number; diskMiB: number } {
  const c = h.capacity;
  if (c === null) return { cpuMillis: 0, memoryMiB: 0, diskMiB: 0 };
  return {
    cpuMillis: c.cpuMillis - h.used.cpuMillis,
    memoryMiB: c.memoryMiB - h.used.memoryMiB,
    diskMiB: c.diskMiB - h.used.diskMiB,
  };
}

/** `unusable, 40 × TCG`: the factor is how many times as long as emulation the probe took. */
function factorOf(kvm: AccelVerdict | undefined): string {
  if (kvm === undefined) return 'unknown';
  return kvm.factor === undefined ? kvm.verdict : `${kvm.verdict}, ${kvm.factor} × TCG`;
}

/** In the order they run: what no waiting can change comes before what is merely full now. */
export const filters: readonly Filter[] = [
  {
    name: 'ready',
    check: (h) =>
      h.state === 'ready' && h.capabilities !== null
        ? null
        : refuse(
            'ready',
            h.state,
            h.state === 'new' ? 'its agent has not connected yet' : 'its agent is silent',
          ),
  },
  {
    name: 'schedulable',
    check: (h) =>
      h.schedulable
        ? null
        : refuse('schedulable', 'unschedulable', 'an operator has closed it to new instances'),
  },
  {
    name: 'arch',
    check: (h, r) => {
      const have = h.capabilities?.arch ?? 'unknown';
      return have === r.spec.placement.arch
        ? null
        : refuse(r.spec.placement.arch, have, `is ${have}, the image needs ${r.spec.placement.arch}`);
    },
  },
  {
    name: 'isolation',
    check: (h, r) => {
      const can = h.capabilities?.isolation[r.spec.isolation];
      if (can?.ok === true) return null;
      const able = Object.entries(h.capabilities?.isolation ?? {})
        .filter(([, v]) => v?.ok === true)
        .map(([k]) => k);
      return refuse(
        r.spec.isolation,
        able.join(', ') || 'none',
        can?.reason ?? `no runtime for ${r.spec.isolation} on this host`,
      );
    },
  },
  {
    name: 'driver',
    check: (h, r) => {
      const { driver } = r.spec.placement;
      const vm = h.capabilities?.isolation[r.spec.isolation];
      const have = vm?.drivers ?? [];
      if (driver === 'any' || have.includes(driver)) return null;
      return refuse(driver, have.join(', ') || 'none', vm?.reason ?? `it does not run ${driver}`);
    },
  },
  {
    name: 'accel',
    check: (h, r) => {
      const wanted = r.spec.placement.accel;
      if (wanted === 'any') return null;
      if (wanted === 'tcg')
        return h.capabilities?.accel.tcg === true ? null : refuse('tcg', 'none', 'cannot emulate');
      const kvm = h.capabilities?.accel.kvm;
      return kvm?.verdict === 'usable'
        ? null
        : refuse('kvm usable', `kvm ${factorOf(kvm)}`, kvm?.reason ?? 'acceleration is unknown');
    },
  },
  {
    name: 'firmware',
    check: (h, r) => {
      const facet = firmwareFacet(firmwareKind(r.spec.firmware));
      if (facet === null || h.capabilities?.facets.includes(facet) === true) return null;
      const have = h.capabilities?.facets.includes('uefi') === true ? 'bios, uefi' : 'bios';
      return refuse(
        facet,
        have,
        'it has no such firmware: install the package ovmf there; its agent may also be older than this API',
      );
    },
  },
  {
    name: 'devices',
    check: (h, r) => {
      const missing = devices.find(
        ({ facet, wanted }) => wanted(r.spec) && h.capabilities?.facets.includes(facet) !== true,
      );
      return missing === undefined ? lent(h, r) : refuse(missing.need, missing.have, missing.message);
    },
  },
  { name: 'hostPaths', check: mountable },
  {
    name: 'resources',
    check: (h, r) => {
      const no = resourcesRefusal(r.spec, h.capabilities ?? { facets: [] });
      return no === null ? null : refuse(no.need, no.have, `${no.message}: ${no.remedy}`);
    },
  },
  {
    name: 'hugePages',
    check: (h, r) => {
      const { hugePages: size, memoryMiB } = r.spec;
      if (size === undefined) return null;
      // All that are reserved: which of them are free is seen at the start, and says so.
      const have = h.capabilities?.hugePages?.[size] ?? 0;
      if (memoryMiB <= have) return null;
      return refuse(
        `${memoryMiB} MiB in pages of ${size}`,
        `${have} MiB`,
        `has ${have} MiB reserved in pages of ${size}: reserve more there, in /sys/kernel/mm/hugepages`,
        have / memoryMiB,
      );
    },
  },
  {
    name: 'numa',
    check: (h, r) => {
      const need = numaNeed(r.spec);
      if (need === null) return null;
      // All that they have: which of it is left is seen at the start, and says so.
      const rooms = (h.capabilities?.numa ?? []).map((node) => {
        return { ...node, room: numaRoom(need, node, bindableMiB(node.memoryMiB)) };
      });
      const room = rooms.reduce((sum, node) => sum + node.room, 0);
      if (room >= need.nodes) return null;
      const has = rooms.map(
        (node) => `node ${node.id}: ${bindableMiB(node.memoryMiB)} MiB, ${node.cpus.length} cpus`,
      );
      return refuse(
        `${need.nodes} × ${need.memoryMiB} MiB, ${need.vcpus} cpus, each in one node`,
        has.join('; ') || 'no nodes',
        has.length === 0
          ? 'it tells of no NUMA nodes: its kernel knows of none'
          : `its nodes have room for ${room} of ${need.nodes} such nodes: divide the instance into more by numa.nodes, or set numa.placement to any`,
        room / need.nodes,
      );
    },
  },
  {
    name: 'cpuModel',
    check: (h, r) => {
      const model = r.spec.cpu?.model;
      if (model === undefined || model === HOST_PASSTHROUGH) return null;
      // What the host will choose: see accelChoice in libs/kvm.
      const kvm = r.spec.placement.accel !== 'tcg' && h.capabilities?.accel.kvm.verdict === 'usable';
      const have = h.capabilities?.cpuModels?.[kvm ? 'kvm' : 'tcg'] ?? [];
      if (have.includes(model)) return null;
      return refuse(
        model,
        have.join(', ') || 'none',
        `cannot give its guests every feature of ${model} under ${kvm ? 'KVM' : 'emulation'}`,
      );
    },
  },
  {
    name: 'labels',
    check: (h, r) => {
      const missing = Object.entries(r.spec.placement.selector).filter(([k, v]) => h.labels[k] !== v);
      if (missing.length === 0) return null;
      const have = missing.map(([k]) => `${k}=${h.labels[k] ?? '(none)'}`).join(', ');
      return refuse(
        missing.map(([k, v]) => `${k}=${v}`).join(', '),
        have,
        'its labels do not match the selector',
      );
    },
  },
  {
    name: 'volume',
    check: (h, r) =>
      r.volumeHost === null || r.volumeHost.id === h.id
        ? null
        : refuse(
            `volume on ${h.name}`,
            `volume on ${r.volumeHost.name}`,
            `the instance's disk is on ${r.volumeHost.name}`,
          ),
  },
  {
    name: 'ipv6',
    check: (h, r) =>
      !r.ipv6 || h.capabilities?.facets.includes('ipv6') === true
        ? null
        : refuse(
            'ipv6',
            'no ipv6',
            'it carries no IPv6: run berth doctor there, which says why; its agent may also be older than this API',
          ),
  },
  {
    name: 'ports',
    check: (h, r) => {
      const host = { offer: h.capabilities?.publishedPorts, taken: new Set(h.ports) };
      for (const port of portsOf(r.spec)) {
        const no = portRefusal(port, host);
        if (no !== null) return refuse(`${portText(port)} free`, no.have, no.message);
      }
      return null;
    },
  },
  room(
    'cpu',
    'millis',
    (h) => freeOf(h).cpuMillis,
    (r) => r.resources.cpuMillis,
  ),
  room(
    'memory',
    'MiB',
    (h) => freeOf(h).memoryMiB,
    (r) => r.resources.memoryMiB,
  ),
  room(
    'disk',
    'MiB',
    (h) => freeOf(h).diskMiB,
    (r) => r.resources.diskMiB,
  ),
  {
    // Of no host: each that has passed all else waits alike.
    name: 'dependencies',
    check: (_, { waitsFor: w }) => (w === null ? null : refuse(w.need, w.have, w.message, 1)),
  },
];

/** The first filter that refuses the host, or null when it fits. */
export function refusalOf(host: HostSnapshot, request: PlacementRequest): Refusal | null {
  for (const f of filters) {
    const no = f.check(host, request);
    if (no !== null) return { filter: f.name, ...no };
  }
  return null;
}
