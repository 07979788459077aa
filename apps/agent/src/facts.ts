import { availableParallelism, release, totalmem } from 'node:os';
import type { ReportBody } from '@berth/link';
import { detectCgroups } from '@berth/linux';
import { guestDnsFacet, Isolation, probesFacet } from '@berth/model';
import type { Capabilities, Capacity, PortOffer } from '@berth/model';
import type { AgentSettings } from './config.js';
import type { Runtimes } from './runtimes.js';

/** Facts of the machine that no runtime owns. */
export interface Machine {
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly arch: Capabilities['arch'];
  readonly kernel: string;
  readonly cgroup: Capabilities['cgroup'];
}

/** @throws where the processor is one Berth does not know */
export function readMachine(): Machine {
  const arch = { x64: 'x86_64', arm64: 'aarch64' }[process.arch as string];
  if (arch === undefined) throw new Error(`processor architecture ${process.arch} is not supported`);
  return {
    cpus: availableParallelism(),
    memoryMiB: Math.floor(totalmem() / 1024 / 1024),
    arch: arch as Machine['arch'],
    kernel: release(),
    cgroup: detectCgroups(),
  };
}

const unknownCpu: Capabilities['cpu'] = {
  vendor: 'unknown',
  model: 'unknown',
  virtualisation: 'none',
  secondLevelPaging: 'unknown',
  nested: false,
  kvmDevice: false,
};

/** What agents of this version do, whatever runs here. */
const agentFacets = [probesFacet, 'stopSignal', guestDnsFacet] as const;

/** What this host can do, from the probes of its runtimes. */
export function capabilitiesOf(
  machine: Machine,
  runtimes: Runtimes,
  diskMiB: number,
  publishedPorts: PortOffer | null,
  carriesIpv6: boolean,
): Capabilities {
  const probes = runtimes.probes();
  const isolation: Capabilities['isolation'] = {};
  for (const kind of Isolation.options) {
    const fit = probes.filter(({ runtime }) => runtime.isolations.includes(kind));
    if (fit.length === 0) continue;
    const drivers = fit.filter(({ ready }) => ready).map(({ runtime }) => runtime.name);
    const missing = fit.filter(({ ready }) => !ready);
    const reason = missing
      .map(({ runtime, probe }) => `${runtime.name}: ${probe?.reason ?? 'not probed yet'}`)
      .join('; ');
    const ok = drivers.length > 0;
    isolation[kind] = missing.length === 0 ? { ok, drivers } : { ok, drivers, reason };
  }
  const facts = probes.map(({ probe }) => probe?.facts ?? {});
  const models = facts.find((f) => f.cpuModels)?.cpuModels;
  const hugePages = facts.find((f) => f.hugePages)?.hugePages;
  const devices = facts.find((f) => f.devices)?.devices;
  const hostPaths = facts.find((f) => f.hostPaths)?.hostPaths;
  const numa = facts.find((f) => f.numa)?.numa;
  const processors = facts.find((f) => f.processors)?.processors;
  const absent = { verdict: 'absent', reason: 'no runtime for virtual machines answered' } as const;
  return {
    ...machine,
    diskMiB,
    isolation,
    accel: facts.find((f) => f.accel)?.accel ?? { kvm: absent, tcg: false },
    cpu: facts.find((f) => f.cpu)?.cpu ?? unknownCpu,
    ...(models === undefined ? {} : { cpuModels: models }),
    ...(hugePages === undefined ? {} : { hugePages }),
    ...(numa === undefined ? {} : { numa }),
    ...(devices === undefined ? {} : { devices }),
    ...(hostPaths === undefined ? {} : { hostPaths }),
    ...(processors === undefined ? {} : { processors }),
    ...(publishedPorts === null ? {} : { publishedPorts }),
    facets: [
      ...new Set([
        ...agentFacets,
        ...(carriesIpv6 ? ['ipv6'] : []),
        ...probes.flatMap(({ probe }) => probe?.facets ?? []),
      ]),
    ].sort(),
    tenantBoundary: facts.some((f) => f.tenantBoundary === true),
    versions: Object.assign({}, ...facts.map((f) => f.versions ?? {})) as Record<string, string>,
  };
}

/** What the scheduler may book: configured, else measured less the reserve. `diskMiB` is free space plus what volumes hold. */
export function capacityOf(
  machine: Machine,
  diskMiB: number,
  settings: Pick<AgentSettings, 'reserve' | 'capacity'>,
): Capacity {
  const { reserve, capacity } = settings;
  return {
    cpuMillis: capacity.cpuMillis ?? Math.max(0, machine.cpus * 1000 - reserve.cpuMillis),
    memoryMiB: capacity.memoryMiB ?? Math.max(0, machine.memoryMiB - reserve.memoryMiB),
    diskMiB: capacity.diskMiB ?? Math.max(0, diskMiB - reserve.diskMiB),
  };
}

/** Says what this host is whenever that changed; in a new session always. */
export class HostFacts {
  private said = '';

  constructor(
    private readonly o: {
      readonly machine: Machine;
      readonly runtimes: Runtimes;
      readonly settings: Pick<AgentSettings, 'reserve' | 'capacity'>;
      readonly bootId: string;
      /** Size of the pool this host may fill, MiB: free space plus what its volumes hold. */
      readonly poolMiB: () => Promise<number>;
      /** Null where ports cannot be published. */
      readonly publishedPorts: () => PortOffer | null;
      readonly carriesIpv6: () => boolean;
      readonly report: (body: ReportBody) => void;
    },
  ) {}

  async say(always: boolean): Promise<void> {
    const { machine, runtimes, settings, bootId, poolMiB, publishedPorts, carriesIpv6, report } = this.o;
    // Rounded down to whole GiB, so that the ordinary filling of a disk is no news.
    const diskMiB = Math.floor((await poolMiB()) / 1024) * 1024;
    const body: ReportBody = {
      kind: 'host',
      bootId,
      capabilities: capabilitiesOf(machine, runtimes, diskMiB, publishedPorts(), carriesIpv6()),
      capacity: capacityOf(machine, diskMiB, settings),
    };
    const text = JSON.stringify(body);
    if (!always && text === this.said) return;
    this.said = text;
    report(body);
  }
}
