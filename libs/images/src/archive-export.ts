import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { OciContent } from './archive-import.js';
import type { BlobStore, StoredBlob } from './blob-store.js';
import { ImageError } from './image-error.js';
import { TAR_END, tarHeader, tarPadding } from './tar-write.js';

/** A stretch of a file that is made up while it is read: bytes of ours, or a whole blob. */
export type FilePart = { readonly bytes: Buffer } | { readonly blob: StoredBlob };

/**
 * An image as one tar that is an OCI image layout (image-spec 1.1, "Image Layout") and what `docker save` writes, both over the same
 * blobs, byte for byte. The same image under the same name gives the same bytes, so that any stretch of them can be asked for again.
 * @param manifestType media type of the image's manifest @param name what loaders are to call it
 */
export function archiveParts(content: OciContent, manifestType: string, name: string): readonly FilePart[] {
  const { digest, configDigest, layers } = content;
  const sizeOf = (wanted: string): number => content.blobs.find((b) => b.digest === wanted)?.sizeBytes ?? 0;
  const annotations = {
    'org.opencontainers.image.ref.name': name,
    // In containerd's full form; it names nothing that was loaded without it.
    'io.containerd.image.name': `docker.io/library/${name}:latest`,
  };
  const index = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [{ mediaType: manifestType, digest, size: sizeOf(digest), annotations }],
  };
  const docker = [
    {
      Config: blobPath(configDigest),
      RepoTags: [`${name}:latest`],
      Layers: layers.map((layer) => blobPath(layer.digest)),
    },
  ];
  // Documents before layers: whoever reads a stream knows early what comes.
  const documents = content.blobs.filter((b) => b.digest === digest || b.digest === configDigest);
  const blobs = [...documents, ...content.blobs.filter((b) => !documents.includes(b))];
  return [
    ...file('oci-layout', json({ imageLayoutVersion: '1.0.0' })),
    ...file('index.json', json(index)),
    ...file('manifest.json', json(docker)),
    ...['blobs', 'blobs/sha256'].map((path) => ({ bytes: header(path, 'directory', 0) })),
    ...blobs.flatMap((blob) => [
      { bytes: header(blobPath(blob.digest), 'file', blob.sizeBytes) },
      { blob },
      { bytes: tarPadding(blob.sizeBytes) },
    ]),
    { bytes: TAR_END },
  ];
}

/** How long the whole is, bytes. */
export const partsSize = (parts: readonly FilePart[]): number =>
  parts.reduce((sum, part) => sum + sizeOf(part), 0);

/** Stands for the whole, 64 hexadecimal digits: equal for equal bytes. It is not their digest, for which all of them would be read. */
export function partsTag(parts: readonly FilePart[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update('blob' in part ? `\0${part.blob.digest}\0` : part.bytes);
  return hash.digest('hex');
}

/** The bytes from `first` on. @throws ImageError missingBlob, where a blob has gone, or is not as long as it was */
export async function* partsRead(
  parts: readonly FilePart[],
  first: number,
  blobs: Pick<BlobStore, 'path'>,
): AsyncGenerator<Uint8Array> {
  let skip = first;
  for (const part of parts) {
    const size = sizeOf(part);
    if (skip >= size) {
      skip -= size;
      continue;
    }
    if ('bytes' in part) yield part.bytes.subarray(skip);
    else yield* blobRead(part.blob, skip, blobs);
    skip = 0;
  }
}

async function* blobRead(
  { digest, sizeBytes }: StoredBlob,
  first: number,
  blobs: Pick<BlobStore, 'path'>,
): AsyncGenerator<Uint8Array> {
  let left = sizeBytes - first;
  const range = { start: first, end: sizeBytes - 1, highWaterMark: 256 * 1024 };
  for await (const chunk of createReadStream(blobs.path(digest), range)) {
    left -= (chunk as Buffer).length;
    yield chunk as Buffer;
  }
  if (left > 0)
    throw new ImageError(
      'missingBlob',
      `blob ${digest} is ${left} bytes shorter than it was`,
      'Import the image again.',
    );
}

const sizeOf = (part: FilePart): number => ('blob' in part ? part.blob.sizeBytes : part.bytes.length);
const blobPath = (digest: string): string => `blobs/${digest.replace(':', '/')}`;
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

function header(name: string, type: 'file' | 'directory', size: number): Buffer {
  return tarHeader({ name, type, mode: type === 'file' ? 0o644 : 0o755, uid: 0, gid: 0, size, mtime: 0n });
}

function file(name: string, bytes: Buffer): FilePart[] {
  return [{ bytes: Buffer.concat([header(name, 'file', bytes.length), bytes, tarPadding(bytes.length)]) }];
}
