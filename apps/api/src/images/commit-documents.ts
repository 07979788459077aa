import { createHash } from 'node:crypto';
import { Digest, type ImageContent, BerthError } from '@berth/model';

export type OciContent = Extract<ImageContent, { kind: 'oci' }>;

/** The layer that a commit adds, as it is stored. */
export interface NewLayer {
  readonly digest: Digest;
  readonly diffId: Digest;
  readonly sizeBytes: number;
  readonly mediaType: string;
}

export interface CommitWords {
  readonly createdAt: string;
  readonly author?: string | undefined;
  readonly message?: string | undefined;
}

export interface Document {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly bytes: Buffer;
}

const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const configType = 'application/vnd.oci.image.config.v1+json';

/** Docker's names of what the OCI image-spec calls otherwise (its "Compatibility Matrix"). */
const ociNames: Readonly<Record<string, string>> = {
  'application/vnd.docker.image.rootfs.diff.tar': 'application/vnd.oci.image.layer.v1.tar',
  'application/vnd.docker.image.rootfs.diff.tar.gzip': 'application/vnd.oci.image.layer.v1.tar+gzip',
};

/** Of a build that made the base, by the engine that made it; the image-spec knows neither. */
const buildersOwn = ['container', 'container_config', 'id', 'parent', 'throwaway'];

/**
 * Configuration and manifest of a base with one more layer. All that the base says of how it runs stays; its history goes on. Pure.
 * @param baseConfig as it is stored @throws BerthError badImage
 */
export function commitDocuments(
  base: OciContent,
  baseConfig: Buffer,
  layer: NewLayer,
  words: CommitWords,
): { readonly config: Document; readonly manifest: Document } {
  const { createdAt: created, author, message } = words;
  const kept = Object.entries(objectOf(baseConfig)).filter(([key]) => !buildersOwn.includes(key));
  const said = {
    ...{ created, created_by: 'berth commit' },
    ...(author === undefined ? {} : { author }),
    ...(message === undefined ? {} : { comment: message }),
  };
  const config = document(configType, {
    ...Object.fromEntries(kept),
    created,
    ...(author === undefined ? {} : { author }),
    rootfs: { type: 'layers', diff_ids: [...base.layers.map(({ diffId }) => diffId), layer.diffId] },
    history: [...historyOf(objectOf(baseConfig)['history'], base.layers.length), said],
  });
  const layers = [...base.layers, layer].map(({ mediaType, digest, sizeBytes: size }) => ({
    ...{ mediaType: ociNames[mediaType] ?? mediaType, digest, size },
  }));
  const { mediaType, digest, bytes } = config;
  const manifest = document(manifestType, {
    ...{ schemaVersion: 2, mediaType: manifestType },
    ...{ config: { mediaType, digest, size: bytes.length }, layers },
  });
  return { config, manifest };
}

/** One entry for each layer, which readers count on: a base without its history gets entries that say nothing. */
function historyOf(found: unknown, layers: number): readonly object[] {
  const entries = (Array.isArray(found) ? found : []).filter(
    (e) => typeof e === 'object' && e !== null,
  ) as object[];
  const filled = entries.filter((e) => (e as { empty_layer?: unknown }).empty_layer !== true).length;
  if (filled > layers) return Array.from({ length: layers }, () => ({}));
  return [...Array.from({ length: layers - filled }, () => ({})), ...entries];
}

function objectOf(bytes: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch {
    // falls through to the one refusal
  }
  throw new BerthError('badImage', 'the configuration of its image is no JSON object', {
    remedy: 'Rebuild the instance from an image that is whole.',
  });
}

function document(mediaType: string, value: object): Document {
  const bytes = Buffer.from(JSON.stringify(value));
  return {
    mediaType,
    bytes,
    digest: Digest.parse(`sha256:${createHash('sha256').update(bytes).digest('hex')}`),
  };
}
