import { z } from 'zod';
import type { InstanceSpec, Isolation } from './instance.js';

/** What of its host an instance runs with. */
export const Sizes = z.strictObject({
  /** Virtual processors; 1 of a container, which has none. */
  vcpus: z.int().min(1),
  /** Up to so many a VM gets while it runs. Absent where it keeps those it began with. */
  maxVcpus: z.int().min(1).optional(),
  /** Down to so many it gives them back: what each run of the epoch boots with. There with `maxVcpus`. */
  minVcpus: z.int().min(1).optional(),
  /** CPU cap in thousandths of a processor, or null for none. */
  cpuMillis: z.int().min(1).nullable(),
  memoryMiB: z.int().min(1),
  /** Up to so much the memory of a VM grows while it runs. Absent where it keeps what it began with. */
  maxMemoryMiB: z.int().min(1).optional(),
  /** Down to so much it shrinks: what each run of the epoch boots with. There with `maxMemoryMiB`. */
  minMemoryMiB: z.int().min(1).optional(),
});
export type Sizes = z.infer<typeof Sizes>;
/** Sizes that a spec has fields for. */
export const sizeFields = ['vcpus', 'maxVcpus', 'cpuMillis', 'memoryMiB', 'maxMemoryMiB'] as const;
export type SizeField = (typeof sizeFields)[number];

type Sized = Pick<
  InstanceSpec,
  'isolation' | 'vcpus' | 'maxVcpus' | 'cpuMillis' | 'memoryMiB' | 'maxMemoryMiB'
>;

/** What an epoch has that is placed with this spec. */
export const sizesOf = ({ vcpus = 1, maxVcpus, cpuMillis, memoryMiB, maxMemoryMiB }: Sized): Sizes => ({
  vcpus,
  ...(maxVcpus === undefined ? {} : { maxVcpus, minVcpus: vcpus }),
  cpuMillis: cpuMillis ?? null,
  memoryMiB,
  ...(maxMemoryMiB === undefined ? {} : { maxMemoryMiB, minMemoryMiB: memoryMiB }),
});

/** Whether an epoch that has `has` can get this much memory while it runs. */
const isLiveMemory = (isolation: Isolation, has: Sizes, memoryMiB: number): boolean =>
  isolation === 'container' ||
  (has.maxMemoryMiB !== undefined &&
    memoryMiB >= (has.minMemoryMiB ?? has.memoryMiB) &&
    memoryMiB <= has.maxMemoryMiB);

/** Whether an epoch that has `has` can get so many virtual processors while it runs. */
const isLiveVcpus = (has: Sizes, vcpus: number): boolean =>
  has.maxVcpus !== undefined && vcpus >= (has.minVcpus ?? has.vcpus) && vcpus <= has.maxVcpus;

/**
 * What an epoch that has `has` is to have of a changed spec, without a restart: the cap, and memory and virtual processors
 * within their bounds. The rest stays as it was placed.
 */
export function sizesNow(has: Sizes, spec: Sized): Sizes {
  const { vcpus, cpuMillis, memoryMiB } = sizesOf(spec);
  return {
    ...has,
    ...(isLiveVcpus(has, vcpus) ? { vcpus } : {}),
    cpuMillis,
    ...(isLiveMemory(spec.isolation, has, memoryMiB) ? { memoryMiB } : {}),
  };
}

/** What sizes book on a host: vCPUs count whole unless capped; a container without a cap books 100 thousandths. */
export function bookedBy(
  isolation: Isolation,
  { vcpus, cpuMillis, memoryMiB }: Sizes,
): { readonly cpuMillis: number; readonly memoryMiB: number } {
  const whole = vcpus * 1000;
  const booked = isolation === 'container' ? (cpuMillis ?? 100) : Math.min(whole, cpuMillis ?? whole);
  return { cpuMillis: booked, memoryMiB };
}
