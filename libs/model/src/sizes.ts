import { z } from 'zod';
import type { InstanceSpec, Isolation } from './instance.js';

/** What of its host an instance runs with. */
export const Sizes = z.strictObject({
  /** Virtual processors; 1 of a container, which has none. */
  vcpus: z.int().min(1),
  /** CPU cap in thousandths of a processor, or null for none. */
  cpuMillis: z.int().min(1).nullable(),
  memoryMiB: z.int().min(1),
});
export type Sizes = z.infer<typeof Sizes>;
export type SizeField = keyof Sizes;
export const sizeFields = ['vcpus', 'cpuMillis', 'memoryMiB'] as const satisfies readonly SizeField[];

/** Sizes that change while it runs. Of the others an epoch keeps what it was placed with. */
const liveSizes: Readonly<Record<Isolation, readonly SizeField[]>> = {
  container: ['cpuMillis', 'memoryMiB'],
  vm: ['cpuMillis'],
  microvm: ['cpuMillis'],
};

export const isLiveSize = (isolation: Isolation, field: SizeField): boolean =>
  liveSizes[isolation].includes(field);

type Sized = Pick<InstanceSpec, 'isolation' | 'vcpus' | 'cpuMillis' | 'memoryMiB'>;

export const sizesOf = ({ vcpus, cpuMillis, memoryMiB }: Sized): Sizes => ({
  vcpus: vcpus ?? 1,
  cpuMillis: cpuMillis ?? null,
  memoryMiB,
});

/** What an epoch that has `has` is to have of a changed spec, without a restart. */
export function sizesNow(has: Sizes, spec: Sized): Sizes {
  const wanted = sizesOf(spec);
  const of = <F extends SizeField>(field: F): Sizes[F] =>
    isLiveSize(spec.isolation, field) ? wanted[field] : has[field];
  return { vcpus: of('vcpus'), cpuMillis: of('cpuMillis'), memoryMiB: of('memoryMiB') };
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
