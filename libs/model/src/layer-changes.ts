import { z } from 'zod';
import { Name } from './ids.js';

/** One path that a container has changed of its image, or that two images differ in. */
export const LayerChange = z
  .strictObject({
    path: z
      .string()
      .describe(
        'Absolute. Control and format characters, "\\", and the bytes of names that are not UTF-8 are written \\xNN',
      ),
    change: z.enum(['added', 'changed', 'deleted']),
    type: z
      .enum(['file', 'directory', 'symlink', 'fifo', 'socket', 'device'])
      .describe('What is there; of what is deleted, what was'),
    sizeBytes: z.int().nullable().describe('Of a file that is there'),
  })
  .meta({ id: 'LayerChange' });
export type LayerChange = z.infer<typeof LayerChange>;

/** One page of them, as a host tells it. */
export const LayerChanges = z.strictObject({
  items: z.array(LayerChange).max(1000),
  /** Where the next page begins; null after the last. */
  next: z.string().max(16_384).nullable(),
});
export type LayerChanges = z.infer<typeof LayerChanges>;

/** What a container is committed as. */
export const InstanceCommit = z
  .strictObject({
    image: Name.describe('Name of the new image'),
    author: z
      .string()
      .max(256)
      .regex(/^\P{Cc}*$/u, 'must not contain control characters')
      .optional(),
    message: z
      .string()
      .max(4096)
      .regex(/^[^\0]*$/, 'must not contain NUL')
      .optional(),
  })
  .meta({ id: 'InstanceCommit' });
export type InstanceCommit = z.infer<typeof InstanceCommit>;
