import {
  cgroupBind,
  cgroupIoGroup,
  cgroupLimit,
  cgroupLimits,
  cgroupMemoryBring,
  cgroupMemoryHigh,
  hasCode,
  ioBring,
  ioWeigh,
} from '@berth/linux';
import type { ResourceField } from '@berth/model';
import { sizesIn, type Unsettled, type WorkloadHas, type WorkloadSpec } from '@berth/runtime';
import type { ContainerLimits } from '../bundle/limits.js';

const MIB = 2 ** 20;

/**
 * Bounds of a container that runs become those of its spec, as far as what it uses and its host let them. All are written, whatever was
 * there: who asks may be a new agent, or one whose predecessor was killed in it. @throws Node's ENOENT
 */
export async function liveSizes(
  cgroup: string,
  spec: WorkloadSpec,
  limits: ContainerLimits,
): Promise<Pick<WorkloadHas, 'sizes' | 'unsettled'>> {
  const unsettled: Unsettled[] = [];
  const before = await cgroupLimits(cgroup);
  const { cpuShares, pids } = limits;
  await cgroupLimit(cgroup, {
    pids,
    cpuShares,
    ...(before.cpuMillis === limits.cpuMillis ? {} : { cpuMillis: limits.cpuMillis }),
  });
  unsettled.push(...(await tried('cpus', () => cgroupBind(cgroup, limits.cpus))));
  unsettled.push(...(await tried('io', () => ioLimit(cgroup, limits))));
  const swapBytes = limits.swapMiB === null ? null : limits.swapMiB * MIB;
  if (!(await cgroupMemoryBring(cgroup, spec.memoryMiB * MIB, swapBytes)))
    unsettled.push({ field: 'memoryMiB', why: `more than ${spec.memoryMiB} MiB is in use` });
  // After the limit, which is brought about by the same bound.
  const highBytes = limits.memoryHighMiB === null ? null : limits.memoryHighMiB * MIB;
  unsettled.push(...(await tried('memoryHighMiB', () => cgroupMemoryHigh(cgroup, highBytes))));
  const { cpuMillis, memoryBytes } = await cgroupLimits(cgroup);
  const memoryMiB = memoryBytes === null ? spec.memoryMiB : Math.ceil(memoryBytes / MIB);
  return { sizes: { ...sizesIn(spec), cpuMillis, memoryMiB }, unsettled };
}

async function ioLimit(cgroup: string, { io, disks, ioWeight }: ContainerLimits): Promise<void> {
  const group = cgroupIoGroup(cgroup);
  if (group === null) return; // its host told that it has no such bounds
  await ioBring(group, disks, io);
  await ioWeigh(group, ioWeight);
}

/** What the kernel refuses of one bound is told, and keeps none of the others from taking effect. */
async function tried(field: ResourceField, work: () => Promise<void>): Promise<Unsettled[]> {
  try {
    await work();
    return [];
  } catch (error) {
    if (!hasCode(error, 'EINVAL', 'ERANGE', 'EACCES', 'EBUSY', 'ENODEV', 'ENOSPC', 'EOPNOTSUPP')) throw error;
    return [
      { field: `resources.${field}`, why: `its host's kernel refuses it: ${(error as Error).message}` },
    ];
  }
}
