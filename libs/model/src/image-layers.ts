import { z } from 'zod';
import { Digest, Name } from './ids.js';

/** How an image came to be, one step; its configuration says so, and nobody has checked it. */
export const ImageHistoryEntry = z
  .strictObject({
    createdAt: z.iso.datetime().nullable().describe('null where the image does not say'),
    createdBy: z.string(),
    author: z.string().nullable(),
    comment: z.string().nullable(),
    layer: z
      .strictObject({ digest: Digest, diffId: Digest, sizeBytes: z.int() })
      .nullable()
      .describe('What the step added, as it is stored; null where it changed only how the image runs'),
  })
  .meta({ id: 'ImageHistoryEntry' });
export type ImageHistoryEntry = z.infer<typeof ImageHistoryEntry>;

/** A layer upon the same layers as in each image that has it there. */
export const ImageTreeLayer = z
  .strictObject({
    id: Digest.describe('Of this layer upon all below it (chain id of the OCI image-spec)'),
    parent: Digest.nullable().describe('`id` of the layer below; null for the lowest'),
    diffId: Digest,
    digest: Digest,
    sizeBytes: z.int().describe('As it is stored'),
    images: z.array(Name).describe('Images that end here'),
  })
  .meta({ id: 'ImageTreeLayer' });
export type ImageTreeLayer = z.infer<typeof ImageTreeLayer>;

export const ImageTree = z
  .strictObject({
    layers: z.array(ImageTreeLayer).describe('Each after its parent, followed by all upon it'),
    storedBytes: z.int().describe('All layers together, each once'),
    statedBytes: z.int().describe('What they would be, were none shared'),
  })
  .meta({ id: 'ImageTree' });
export type ImageTree = z.infer<typeof ImageTree>;

/** Another name for an image. */
export const ImageTag = z
  .strictObject({ name: Name.describe('The new name; the old one stays') })
  .meta({ id: 'ImageTag' });
export type ImageTag = z.infer<typeof ImageTag>;
