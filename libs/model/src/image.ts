import { z } from 'zod';
import { Digest, HostId, ImageId, Name } from './ids.js';

export const ImageKind = z.enum(['oci', 'disk', 'iso']);
export type ImageKind = z.infer<typeof ImageKind>;
export const DiskFormat = z.enum(['qcow2', 'raw']);
export type DiskFormat = z.infer<typeof DiskFormat>;

/** What imports by URL may do in a project, beyond fetching from the one public address that was named. */
export const ImageSources = z
  .strictObject({
    redirects: z.boolean().describe('Follow redirects to other addresses'),
    privateAddresses: z
      .boolean()
      .describe(
        'Connect to loopback, private, link-local and other addresses that are not of the public Internet',
      ),
  })
  .meta({ id: 'ImageSources' });
export type ImageSources = z.infer<typeof ImageSources>;

/** The medium of a CD-ROM drive: its file is what a guest reads, byte by byte. */
export const IsoContent = z.strictObject({
  kind: z.literal('iso'),
  /** Digest of the file as stored. */
  digest: Digest,
  sizeBytes: z.int(),
  /** It says that a machine can be booted from it (El Torito). */
  bootable: z.boolean(),
  blobs: z.array(z.strictObject({ digest: Digest, sizeBytes: z.int() })),
});
export type IsoContent = z.infer<typeof IsoContent>;

/** What a host needs to fetch and use an image; every blob is content-addressed. */
export const ImageContent = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('oci'),
    /** Manifest digest. */
    digest: Digest,
    configDigest: Digest,
    /** Bottom layer first. `diffId` is the digest of the uncompressed tar. */
    layers: z.array(
      z.strictObject({ digest: Digest, diffId: Digest, sizeBytes: z.int(), mediaType: z.string() }),
    ),
    process: z.strictObject({
      entrypoint: z.array(z.string()),
      cmd: z.array(z.string()),
      env: z.array(z.string()),
      user: z.string(),
      workdir: z.string(),
      stopSignal: z.string().optional(),
    }),
    arch: z.string(),
    /** All blobs with their sizes: manifest, config, layers. */
    blobs: z.array(z.strictObject({ digest: Digest, sizeBytes: z.int() })),
  }),
  z.strictObject({
    kind: z.literal('disk'),
    /** Digest of the file as stored. */
    digest: Digest,
    format: DiskFormat,
    sizeBytes: z.int(),
    virtualSizeMiB: z.int(),
    blobs: z.array(z.strictObject({ digest: Digest, sizeBytes: z.int() })),
  }),
  IsoContent,
]);
export type ImageContent = z.infer<typeof ImageContent>;

export const Image = z
  .strictObject({
    id: ImageId,
    project: Name,
    name: Name,
    kind: ImageKind,
    digest: Digest,
    sizeBytes: z.int(),
    content: ImageContent,
    /** Hosts that hold all blobs. */
    hosts: z.array(z.strictObject({ id: HostId, name: Name })),
    resourceVersion: z.int(),
    createdAt: z.iso.datetime(),
  })
  .meta({ id: 'Image' });
export type Image = z.infer<typeof Image>;
