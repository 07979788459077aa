import { Digest } from '@berth/model';
import { z } from 'zod';

/** Documents of the OCI image specification 1.1 and of `docker save`; fields we do not use are dropped. */
export const Descriptor = z.object({
  mediaType: z.string().max(255),
  digest: Digest,
  size: z.int().min(0),
  urls: z.array(z.string()).optional(),
  platform: z.object({ architecture: z.string(), os: z.string(), variant: z.string().optional() }).optional(),
});
export type Descriptor = z.infer<typeof Descriptor>;

export const ImageIndex = z.object({
  schemaVersion: z.literal(2),
  manifests: z.array(Descriptor).min(1).max(1024),
});
export type ImageIndex = z.infer<typeof ImageIndex>;

export const ImageManifest = z.object({
  schemaVersion: z.literal(2),
  config: Descriptor,
  layers: z.array(Descriptor).min(1),
});
export type ImageManifest = z.infer<typeof ImageManifest>;

const text = z.string().refine((s) => !s.includes('\0'), 'must not contain NUL');
const strings = z
  .array(text)
  .nullish()
  .transform((list) => list ?? []);

export const ImageConfig = z.object({
  architecture: z.string(),
  os: z.string(),
  config: z
    .object({
      Entrypoint: strings,
      Cmd: strings,
      Env: strings,
      User: text.nullish(),
      WorkingDir: text.nullish(),
      StopSignal: z
        .string()
        .regex(/^(SIG)?[A-Z0-9+-]{1,16}$/)
        .nullish()
        .or(z.literal('')),
    })
    .nullish(),
  rootfs: z.object({ type: z.literal('layers'), diff_ids: z.array(Digest) }),
});
export type ImageConfig = z.infer<typeof ImageConfig>;

/** `manifest.json` of `docker save`. */
export const DockerManifests = z
  .array(z.object({ Config: z.string().max(4096), Layers: z.array(z.string().max(4096)).min(1) }))
  .min(1);

export const mediaTypes = {
  index: new Set([
    'application/vnd.oci.image.index.v1+json',
    'application/vnd.docker.distribution.manifest.list.v2+json',
  ]),
  manifest: new Set([
    'application/vnd.oci.image.manifest.v1+json',
    'application/vnd.docker.distribution.manifest.v2+json',
  ]),
  config: new Set([
    'application/vnd.oci.image.config.v1+json',
    'application/vnd.docker.container.image.v1+json',
  ]),
  layer: new Set([
    'application/vnd.oci.image.layer.v1.tar',
    'application/vnd.oci.image.layer.v1.tar+gzip',
    'application/vnd.oci.image.layer.v1.tar+zstd',
    'application/vnd.docker.image.rootfs.diff.tar',
    'application/vnd.docker.image.rootfs.diff.tar.gzip',
  ]),
} as const;

/** What a manifest says that it is; Docker's and OCI's are told apart by it. */
export function manifestType(manifest: Buffer): string {
  const { mediaType } = JSON.parse(manifest.toString('utf8')) as { mediaType?: unknown };
  if (typeof mediaType === 'string' && mediaTypes.manifest.has(mediaType)) return mediaType;
  return 'application/vnd.oci.image.manifest.v1+json';
}

/** The model's words for architectures of the specification (Go's GOARCH). */
export const architectures: Readonly<Record<string, string>> = { amd64: 'x86_64', arm64: 'aarch64' };

/** The variants of an architecture that each machine of it can run. */
const plainVariants: Readonly<Record<string, string>> = { amd64: 'v1', arm64: 'v8' };

/**
 * The manifests of an index that are for Linux on `arch` (the model's word), in its order, each digest once. Those that name
 * a platform are preferred to those that name none; a variant that not each machine can run (amd64/v3) is not taken.
 */
export function manifestsFor(index: ImageIndex, arch: string): readonly Descriptor[] {
  const named = index.manifests.filter(
    ({ platform: p }) =>
      p?.os === 'linux' &&
      architectures[p.architecture] === arch &&
      (p.variant === undefined || p.variant === '' || p.variant === plainVariants[p.architecture]),
  );
  const fits = named.length > 0 ? named : index.manifests.filter((d) => d.platform === undefined);
  return [...new Map(fits.map((d) => [d.digest, d])).values()];
}

/** Why a layer is not taken; null when it is. Foreign layers are content that its registry does not have or hand out. */
export function layerFault({ mediaType, urls }: Descriptor): string | null {
  if (/nondistributable|\.foreign\./.test(mediaType) || urls !== undefined)
    return `layer type ${mediaType} is foreign: its content lies elsewhere`;
  return mediaTypes.layer.has(mediaType) ? null : `layer type ${mediaType} is not taken`;
}
