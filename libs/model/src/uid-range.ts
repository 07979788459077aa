import { z } from 'zod';

/**
 * Users and groups of its host that a container's are: user `n` of the container is `first + n` there. It is the container's alone, and
 * stays with its disk.
 */
export const UidRange = z.strictObject({ first: z.int().min(0), count: z.int().min(1) });
export type UidRange = z.infer<typeof UidRange>;
