import { cgroupLimit, cgroupLimits, cgroupMemoryBring } from '@berth/linux';
import { sizesIn, type Unsettled, type WorkloadHas, type WorkloadSpec } from '@berth/runtime';
import { sharesOf } from '../bundle/config.js';
import { swapAccounting } from './cgroup-trees.js';

const MIB = 2 ** 20;

/** Bounds of a container that runs become those of its spec, as far as what it uses lets them. @throws Node's ENOENT */
export async function liveSizes(
  cgroup: string,
  spec: WorkloadSpec,
): Promise<Pick<WorkloadHas, 'sizes' | 'unsettled'>> {
  const unsettled: Unsettled[] = [];
  const before = await cgroupLimits(cgroup);
  if (before.cpuMillis !== spec.cpuMillis)
    await cgroupLimit(cgroup, { cpuMillis: spec.cpuMillis, cpuShares: sharesOf(spec.cpuMillis) });
  const bytes = spec.memoryMiB * MIB;
  if (before.memoryBytes !== bytes && !(await cgroupMemoryBring(cgroup, bytes, swapAccounting())))
    unsettled.push({ field: 'memoryMiB', why: `more than ${spec.memoryMiB} MiB is in use` });
  const { cpuMillis, memoryBytes } = await cgroupLimits(cgroup);
  const memoryMiB = memoryBytes === null ? spec.memoryMiB : Math.ceil(memoryBytes / MIB);
  return { sizes: { ...sizesIn(spec), cpuMillis, memoryMiB }, unsettled };
}
