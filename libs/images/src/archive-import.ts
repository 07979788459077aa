import type { Readable } from 'node:stream';
import type { Digest, ImageContent } from '@berth/model';
import type { BlobStore } from './blob-store.js';
import { dockerToOci } from './docker-archive.js';
import {
  architectures,
  ImageConfig,
  ImageIndex,
  ImageManifest,
  layerFault,
  manifestsFor,
  mediaTypes,
} from './oci-documents.js';
import type { ArchiveLimits, FoundManifest, LayoutFile } from './staged-archive.js';
import { defaultArchiveLimits, refuse, StagedArchive } from './staged-archive.js';
import { gunzipped } from './tar-entries.js';

export type OciContent = Extract<ImageContent, { kind: 'oci' }>;

/**
 * Reads an image archive (OCI image-layout tar, or `docker save`; plain or gzip) and stores its image for `limits.arch`.
 * Everything is staged; blobs become visible only after every digest and size was verified. A docker archive is stored
 * as an OCI manifest over its own configuration and layers. Layers are not unpacked here: the diffIds of compressed
 * ones are checked when the layer store unpacks them.
 * @throws ImageError badArchive, badDigest, unsupported, tooLarge
 */
export async function importArchive(
  stream: Readable,
  blobs: BlobStore,
  limits: Partial<ArchiveLimits> = {},
): Promise<OciContent> {
  try {
    return await imported(blobs, limits, async (archive) => archive.readAll(await gunzipped(stream)));
  } finally {
    stream.destroy();
  }
}

/**
 * The same of the files of an OCI image layout that lie on the store's file system already. They are linked and not copied,
 * so they must not change any more.
 * @throws ImageError badArchive, badDigest, unsupported, tooLarge
 */
export function importLayout(
  files: readonly LayoutFile[],
  blobs: BlobStore,
  limits: Partial<ArchiveLimits> = {},
): Promise<OciContent> {
  return imported(blobs, limits, (archive) => archive.adoptAll(files));
}

async function imported(
  blobs: BlobStore,
  limits: Partial<ArchiveLimits>,
  fill: (archive: StagedArchive) => Promise<void>,
): Promise<OciContent> {
  const staging = await blobs.stage();
  try {
    const archive = new StagedArchive(staging, { ...defaultArchiveLimits, ...limits });
    await fill(archive);
    const manifest = archive.has('index.json')
      ? await platformManifest(archive, await archive.document('index.json', ImageIndex), 1)
      : archive.has('manifest.json')
        ? await dockerToOci(archive)
        : refuse('badArchive', 'it holds neither index.json (OCI layout) nor manifest.json (docker save)');
    const content = await contentOf(archive, manifest);
    await staging.publish(content.blobs.map((blob) => blob.digest));
    return content;
  } finally {
    await staging.discard();
  }
}

/** Follows an index to the one manifest for the wanted platform (image-spec, "Image Index"). */
async function platformManifest(
  archive: StagedArchive,
  index: ImageIndex,
  depth: number,
): Promise<FoundManifest> {
  if (depth > archive.limits.indexDepth)
    return refuse('tooLarge', `indexes point to each other more than ${archive.limits.indexDepth} deep`);
  const wanted = archive.limits.arch;
  const [chosen, second] = manifestsFor(index, wanted);
  if (chosen === undefined)
    return refuse('unsupported', `it holds no image for linux/${wanted}`, `Build or pull it for ${wanted}.`);
  if (second !== undefined)
    return refuse('unsupported', 'it holds several images', 'Save one image per archive.');
  if (mediaTypes.index.has(chosen.mediaType))
    return platformManifest(archive, await archive.blobDocument(chosen, ImageIndex), depth + 1);
  if (!mediaTypes.manifest.has(chosen.mediaType))
    return refuse('unsupported', `manifest type ${chosen.mediaType} is not known`);
  return { manifest: await archive.blobDocument(chosen, ImageManifest), blob: archive.blob(chosen) };
}

/** Checks a manifest's parts and describes the image. */
async function contentOf(archive: StagedArchive, { manifest, blob }: FoundManifest): Promise<OciContent> {
  if (!mediaTypes.config.has(manifest.config.mediaType))
    return refuse('unsupported', `it is no image but ${manifest.config.mediaType}`, 'Use a container image.');
  if (manifest.layers.length > archive.limits.layers)
    return refuse('tooLarge', `it has more than ${archive.limits.layers} layers`);
  const config = await archive.blobDocument(manifest.config, ImageConfig);
  const arch = architectures[config.architecture];
  if (config.os !== 'linux' || arch !== archive.limits.arch)
    return refuse(
      'unsupported',
      `it is for ${config.os}/${config.architecture}`,
      `Use linux/${archive.limits.arch}.`,
    );
  const { diff_ids: diffIds } = config.rootfs;
  if (diffIds.length !== manifest.layers.length)
    return refuse('badArchive', `${diffIds.length} diffIds for ${manifest.layers.length} layers`);
  const layers = manifest.layers.map((layer, i) => {
    const fault = layerFault(layer);
    if (fault !== null) refuse('unsupported', fault, 'Use layers that are tar, gzip or zstd.');
    const { digest, sizeBytes } = archive.blob(layer);
    return { digest, diffId: diffIds[i] as Digest, sizeBytes, mediaType: layer.mediaType };
  });
  const process = config.config;
  const parts = [blob, archive.blob(manifest.config), ...layers];
  const unique = new Map(parts.map(({ digest, sizeBytes }) => [digest, { digest, sizeBytes }]));
  return {
    kind: 'oci',
    digest: blob.digest,
    configDigest: manifest.config.digest,
    layers,
    process: {
      entrypoint: process?.Entrypoint ?? [],
      cmd: process?.Cmd ?? [],
      env: process?.Env ?? [],
      user: process?.User ?? '',
      workdir: process?.WorkingDir || '/',
      ...(process?.StopSignal ? { stopSignal: process.StopSignal } : {}),
    },
    arch,
    blobs: [...unique.values()],
  };
}
