import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { Readable as NodeReadable } from 'node:stream';
import type { FoundManifest, StagedArchive } from './staged-archive.js';
import { refuse } from './staged-archive.js';
import type { StoredBlob } from './blob-store.js';
import { DockerManifests, ImageConfig, ImageManifest } from './oci-documents.js';
import { archivePath, gunzipped, readFault } from './tar-entries.js';

/**
 * Describes a `docker save` archive by an OCI manifest: configuration and layers stay byte for byte (so the
 * configuration's digest is the image id that Docker shows), the manifest is written new and staged.
 * The archive states no layer digests, so each layer is hashed uncompressed and held against its diffId here.
 */
export async function dockerToOci(archive: StagedArchive): Promise<FoundManifest> {
  const manifests = await archive.document('manifest.json', DockerManifests);
  const [image] = manifests;
  if (image === undefined || manifests.length > 1)
    return refuse('unsupported', 'it holds several images', 'Save one image per archive.');
  const config = fileOf(archive, image.Config);
  const { rootfs } = await archive.document(pathOf(image.Config), ImageConfig);
  if (rootfs.diff_ids.length !== image.Layers.length)
    return refuse('badArchive', `${rootfs.diff_ids.length} diffIds for ${image.Layers.length} layers`);
  const layers = [];
  for (const [i, name] of image.Layers.entries()) {
    const blob = fileOf(archive, name);
    const layer = await layerOf(archive, blob);
    if (layer.diffId !== rootfs.diff_ids[i])
      return refuse('badDigest', `layer ${name} hashes to ${layer.diffId}, not to ${rootfs.diff_ids[i]}`);
    layers.push({ mediaType: layer.mediaType, digest: blob.digest, size: blob.sizeBytes });
  }
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: {
      mediaType: 'application/vnd.oci.image.config.v1+json',
      digest: config.digest,
      size: config.sizeBytes,
    },
    layers,
  };
  const bytes = Buffer.from(JSON.stringify(manifest));
  const blob = await archive.staging.write(NodeReadable.from([bytes]), { maxBytes: bytes.length });
  return { manifest: ImageManifest.parse(manifest), blob };
}

async function layerOf(
  archive: StagedArchive,
  blob: StoredBlob,
): Promise<{ diffId: string; mediaType: string }> {
  const path = archive.staging.path(blob.digest) ?? refuse('badArchive', 'a layer is missing');
  const file = await open(path, 'r');
  const head = Buffer.alloc(2);
  await file.read(head, 0, 2, 0).finally(() => file.close());
  const base = 'application/vnd.oci.image.layer.v1.tar';
  if (head[0] !== 0x1f || head[1] !== 0x8b) return { diffId: blob.digest, mediaType: base };
  return {
    diffId: await hashOf(await gunzipped(createReadStream(path)), archive.limits.blobBytes),
    mediaType: `${base}+gzip`,
  };
}

async function hashOf(stream: Readable, maxBytes: number): Promise<string> {
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    for await (const chunk of stream) {
      bytes += (chunk as Buffer).length;
      if (bytes > maxBytes) refuse('tooLarge', `a layer is larger than ${maxBytes} bytes`);
      hash.update(chunk as Buffer);
    }
  } catch (e) {
    throw readFault(e);
  }
  return `sha256:${hash.digest('hex')}`;
}

function fileOf(archive: StagedArchive, name: string): StoredBlob {
  return archive.file(pathOf(name)) ?? refuse('badArchive', `${name} is missing`);
}

function pathOf(name: string): string {
  return archivePath(name, 8, 'badArchive').join('/');
}
