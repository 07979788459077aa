import { type ContainerResources, defaultPids } from '@berth/model';
import type { WorkloadSpec } from '@berth/runtime';
import type { OciResources } from './oci-types.js';

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
  /** The host can bound memory and swap together. */
  readonly swapAccounting: boolean;
}

const CPU_PERIOD_MICROS = 100_000;
/** Share of a container without a cap: what the scheduler books for it. */
const UNCAPPED_MILLIS = 100;

type Limited = Pick<WorkloadSpec, 'memoryMiB' | 'cpuMillis' | 'resources'>;

/** What a spec asks for, with the defaults filled in. */
export function limitsOf(
  { memoryMiB, cpuMillis, resources = {} }: Limited,
  host: { readonly swapAccounting: boolean },
): ContainerLimits {
  return {
    memoryMiB,
    cpuMillis,
    cpuShares: sharesOf(cpuMillis, resources),
    cpus: resources.cpus ?? null,
    pids: resources.pids ?? defaultPids,
    swapAccounting: host.swapAccounting,
  };
}

/** A weight is in the unit of a cap: 1024 shares are usual for one processor. */
function sharesOf(cpuMillis: number | null, { cpuWeight }: ContainerResources): number {
  const millis = cpuWeight ?? cpuMillis ?? UNCAPPED_MILLIS;
  return Math.min(262_144, Math.max(2, Math.round((millis * 1024) / 1000)));
}

/** Limits in OCI's words, which the OCI runtime writes to cgroup v1 or v2 (runtime-spec, config-linux.md). Pure. */
export function ociLimits(limits: ContainerLimits): Omit<OciResources, 'devices'> {
  const bytes = limits.memoryMiB * 1024 * 1024;
  return {
    memory: { limit: bytes, ...(limits.swapAccounting ? { swap: bytes } : {}) },
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
  };
}
