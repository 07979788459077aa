import { createHash } from 'node:crypto';
import { Digest, type ImageContent } from '@berth/model';
import { configHistory, configObject } from './image-config.js';

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
  const kept = Object.entries(configObject(baseConfig)).filter(([key]) => !buildersOwn.includes(key));
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
    history: [...configHistory(configObject(baseConfig)['history'], base.layers.length), said],
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

function document(mediaType: string, value: object): Document {
  const bytes = Buffer.from(JSON.stringify(value));
  return {
    mediaType,
    bytes,
    digest: Digest.parse(`sha256:${createHash('sha256').update(bytes).digest('hex')}`),
  };
}
