import { z } from 'zod';

/** Sizes of huge pages on x86-64. */
export const HugePageSize = z.enum(['2MiB', '1GiB']);
export type HugePageSize = z.infer<typeof HugePageSize>;

/** One page, MiB. */
export const hugePageMiB: Readonly<Record<HugePageSize, number>> = { '2MiB': 2, '1GiB': 1024 };

/** Memory that a host keeps in huge pages, MiB: all that was reserved, whoever uses it. */
export const HugePages = z.strictObject({ '2MiB': z.int().min(0), '1GiB': z.int().min(0) });
export type HugePages = z.infer<typeof HugePages>;
