import type { BlockDevice, IoLimits } from '@berth/linux';
import { type ContainerIo, type ContainerResources, defaultPids } from '@berth/model';
import type { WorkloadSpec } from '@berth/runtime';
import type { OciRate, OciResources } from './oci-types.js';

/** What a container's cgroups are to hold it to. */
export interface ContainerLimits {
  readonly memoryMiB: number;
  /** Cap in thousandths of a processor; null for none. */
  readonly cpuMillis: number | null;
  /** Share under contention, as v1 counts it. */
  readonly cpuShares: number;
  /** Processors in Linux' list format; null for all. */
  readonly cpus: string | null;
  readonly pids: number;
  /** Above this memory is taken back from it; null: not before its limit. */
  readonly memoryHighMiB: number | null;
  /** Beside its memory; null where the host does not count swap. */
  readonly swapMiB: number | null;
  readonly io: IoLimits;
  /** What `io` holds for, each alone. */
  readonly disks: readonly BlockDevice[];
  /** At busy disks; null for the usual one. */
  readonly ioWeight: number | null;
}

/** What of its host decides what a container is held to. */
export interface LimitingHost {
  /** Memory and swap can be bounded together. */
  readonly swapAccounting: boolean;
  /** Disks that hold files of the container; none where it is bounded at none. */
  readonly disks?: readonly BlockDevice[];
}

const CPU_PERIOD_MICROS = 100_000;
/** Share of a container without a cap: what the scheduler books for it. */
const UNCAPPED_MILLIS = 100;

type Limited = Pick<WorkloadSpec, 'memoryMiB' | 'cpuMillis' | 'resources'>;

/** What a spec asks for, with the defaults filled in. */
export function limitsOf(
  { memoryMiB, cpuMillis, resources = {} }: Limited,
  { swapAccounting, disks = [] }: LimitingHost,
): ContainerLimits {
  return {
    memoryMiB,
    cpuMillis,
    cpuShares: sharesOf(cpuMillis, resources),
    cpus: resources.cpus ?? null,
    pids: resources.pids ?? defaultPids,
    memoryHighMiB: resources.memoryHighMiB ?? null,
    swapMiB: swapAccounting ? (resources.swapMiB ?? 0) : null,
    io: ioLimitsOf(resources.io),
    disks,
    ioWeight: resources.io?.weight ?? null,
  };
}

const MIB = 1024 * 1024;

function ioLimitsOf(io: ContainerIo = {}): IoLimits {
  const bytes = (mib: number | undefined): number | null => (mib === undefined ? null : mib * MIB);
  return {
    readBytes: bytes(io.readMiBPerSecond),
    writeBytes: bytes(io.writeMiBPerSecond),
    readOperations: io.readOperationsPerSecond ?? null,
    writeOperations: io.writeOperationsPerSecond ?? null,
  };
}

/** Whether a spec bounds its container at disks, so that they are to be looked for. */
export const boundsDisks = ({ resources }: Pick<WorkloadSpec, 'resources'>): boolean =>
  Object.values(ioLimitsOf(resources?.io)).some((limit) => limit !== null);

/** A weight is in the unit of a cap: 1024 shares are usual for one processor. */
function sharesOf(cpuMillis: number | null, { cpuWeight }: ContainerResources): number {
  const millis = cpuWeight ?? cpuMillis ?? UNCAPPED_MILLIS;
  return Math.min(262_144, Math.max(2, Math.round((millis * 1024) / 1000)));
}

/** Limits in OCI's words, which the OCI runtime writes to cgroup v1 or v2 (runtime-spec, config-linux.md). Pure. */
export function ociLimits(limits: ContainerLimits): Omit<OciResources, 'devices'> {
  const { memoryMiB, swapMiB, memoryHighMiB } = limits;
  return {
    memory: {
      limit: memoryMiB * MIB,
      ...(swapMiB === null ? {} : { swap: (memoryMiB + swapMiB) * MIB }),
    },
    cpu: {
      shares: limits.cpuShares,
      ...(limits.cpuMillis === null
        ? {}
        : {
            quota: Math.max(1000, (limits.cpuMillis * CPU_PERIOD_MICROS) / 1000),
            period: CPU_PERIOD_MICROS,
          }),
      ...(limits.cpus === null ? {} : { cpus: limits.cpus }),
    },
    pids: { limit: limits.pids },
    ...blockIo(limits),
    // OCI has no word of its own for it: it is v2's alone.
    ...(memoryHighMiB === null ? {} : { unified: { 'memory.high': `${memoryHighMiB * MIB}` } }),
  };
}

function blockIo({ io, disks, ioWeight }: ContainerLimits): Pick<OciResources, 'blockIO'> {
  const rates = (rate: number | null): OciRate[] =>
    rate === null ? [] : disks.map((disk) => ({ ...disk, rate }));
  const all = {
    ...(ioWeight === null ? {} : { weight: ioWeight }),
    ...some('throttleReadBpsDevice', rates(io.readBytes)),
    ...some('throttleWriteBpsDevice', rates(io.writeBytes)),
    ...some('throttleReadIOPSDevice', rates(io.readOperations)),
    ...some('throttleWriteIOPSDevice', rates(io.writeOperations)),
  };
  return Object.keys(all).length === 0 ? {} : { blockIO: all };
}

const some = <K extends string>(name: K, rates: OciRate[]): Partial<Record<K, OciRate[]>> =>
  rates.length === 0 ? {} : ({ [name]: rates } as Record<K, OciRate[]>);
