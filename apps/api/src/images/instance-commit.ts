import { createHash, type Hash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { type BlobStore, defaultArchiveLimits, ImageError, type LayoutFile, ratioBytes } from '@berth/images';
import { BerthError, Digest, type Instance, type InstanceId } from '@berth/model';
import { z } from 'zod';
import type { Layers } from '../http/deps.js';
import type { Clock, ImageStore, InstanceStore } from '../store/store.js';
import { commitDocuments, type NewLayer, type OciContent } from './commit-documents.js';

/*
 * A commit: the host packs what the container changed, and sends it while the container stands still; here it becomes one more layer
 * upon those of its image, which are shared by their digests. Together they are an OCI image layout, imported as any other is.
 */

/** What is sealed with a commit while it is under way. */
export const CommitOrder = z.strictObject({
  instanceId: z.string(),
  author: z.string().optional(),
  message: z.string().optional(),
});
export type CommitOrder = z.infer<typeof CommitOrder>;

export interface CommitPorts {
  readonly store: Pick<ImageStore, 'imageOfInstance'> & Pick<InstanceStore, 'instanceById'>;
  readonly blobs: BlobStore;
  readonly layers: Pick<Layers, 'read'>;
  readonly clock: Clock;
  readonly maxBytes: number;
  /** So many bytes of the layer have come. @throws what ends the commit */
  readonly progress: (bytes: number) => Promise<void>;
}

const layerType = 'application/vnd.oci.image.layer.v1.tar';
/** From one word on the progress to the next, milliseconds. */
const wordMs = 1000;

/**
 * Gathers the new image in `dir`, beginning anew whatever an earlier process left there. @throws BerthError notFound, unsupported,
 * stateConflict, unavailable, badImage, tooLarge; whatever the signal or a port throws
 */
export async function commitGather(
  ports: CommitPorts,
  order: CommitOrder,
  dir: string,
  signal: AbortSignal,
): Promise<readonly LayoutFile[]> {
  const { store, blobs, clock } = ports;
  const instance = await store.instanceById(order.instanceId as InstanceId);
  const base = instance === null ? null : await store.imageOfInstance(instance.id);
  if (instance === null || base === null)
    throw new BerthError('notFound', 'the instance was deleted before it was committed');
  if (base.kind !== 'oci' || base.digest !== instance.imageDigest)
    throw new BerthError('stateConflict', `${instance.name} was given another image meanwhile`, {
      remedy: 'Commit it again when its rebuild is over.',
    });
  refuseLayers(base);
  const baseConfig = await blobs.read(base.configDigest, defaultArchiveLimits.documentBytes);
  const files = await baseFiles(blobs, base);
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const createdAt = clock.now().toISOString();
  const { layer, file } = await layerStored(ports, instance, dir, signal);
  const { config, manifest } = commitDocuments(base, baseConfig, layer, { ...order, createdAt });
  const own = async (path: string, bytes: Buffer): Promise<LayoutFile> => {
    const at = join(dir, path.replaceAll('/', '-'));
    await writeFile(at, bytes, { flag: 'wx', mode: 0o600, flush: true });
    return { path, file: at };
  };
  const { mediaType, digest, bytes } = manifest;
  const index = { schemaVersion: 2, manifests: [{ mediaType, digest, size: bytes.length }] };
  return [
    ...files,
    { path: layoutPath(layer.digest), file, known: { digest: layer.digest, sizeBytes: layer.sizeBytes } },
    await own(layoutPath(config.digest), config.bytes),
    await own(layoutPath(digest), bytes),
    await own('index.json', Buffer.from(JSON.stringify(index))),
  ];
}

const layoutPath = (digest: Digest): string => `blobs/${digest.replace(':', '/')}`;

function refuseLayers({ layers }: OciContent): void {
  const { layers: most } = defaultArchiveLimits;
  if (layers.length >= most)
    throw new BerthError('unsupported', `its image has ${layers.length} layers, and ${most} are taken`, {
      remedy: 'Build the image with fewer layers; each commit adds one.',
    });
}

/** The layers that are shared, by their files here. */
async function baseFiles(blobs: BlobStore, base: OciContent): Promise<LayoutFile[]> {
  const files = new Map<Digest, LayoutFile>();
  for (const { digest, sizeBytes } of base.layers) {
    if ((await blobs.size(digest)) !== sizeBytes)
      throw new ImageError(
        'missingBlob',
        `layer ${digest} of its image is not in the API’s store`,
        'Import its image again, under another name.',
      );
    files.set(digest, { path: layoutPath(digest), file: blobs.path(digest), known: { digest, sizeBytes } });
  }
  return [...files.values()];
}

/** The layer in a file: gzip, or as it is where it would not be unpacked again for shrinking too well. */
async function layerStored(
  ports: CommitPorts,
  instance: Instance,
  dir: string,
  signal: AbortSignal,
): Promise<{ layer: NewLayer; file: string }> {
  const bytes = await ports.layers.read(instance, ports.maxBytes, signal);
  const tar = counted();
  const packed = counted();
  const file = join(dir, 'layer.tar.gz');
  await pipeline(
    Readable.from(told(bytes, ports), { objectMode: false }),
    tar.through,
    createGzip({ level: 4 }),
    packed.through,
    createWriteStream(file, { flags: 'wx', mode: 0o600 }),
    { signal },
  );
  const diffId = digestOf(tar.hash);
  if (tar.bytes() <= ratioBytes(packed.bytes())) {
    await synced(file);
    const digest = digestOf(packed.hash);
    return { layer: { digest, diffId, sizeBytes: packed.bytes(), mediaType: `${layerType}+gzip` }, file };
  }
  const plain = join(dir, 'layer.tar');
  await pipeline(
    createReadStream(file),
    createGunzip(),
    createWriteStream(plain, { flags: 'wx', mode: 0o600 }),
    { signal },
  );
  await synced(plain);
  return { layer: { digest: diffId, diffId, sizeBytes: tar.bytes(), mediaType: layerType }, file: plain };
}

/** Tells now and then how much has come. */
async function* told(
  bytes: AsyncIterable<Uint8Array>,
  { clock, progress }: CommitPorts,
): AsyncGenerator<Uint8Array> {
  let come = 0;
  let saidAt = 0;
  for await (const chunk of bytes) {
    come += chunk.length;
    yield chunk;
    const now = clock.now().getTime();
    if (now - saidAt < wordMs) continue;
    saidAt = now;
    await progress(come);
  }
  await progress(come);
}

function counted(): { readonly through: Transform; readonly hash: Hash; readonly bytes: () => number } {
  const hash = createHash('sha256');
  let bytes = 0;
  const through = new Transform({
    transform(chunk: Buffer, _, done) {
      bytes += chunk.length;
      hash.update(chunk);
      done(null, chunk);
    },
  });
  return { through, hash, bytes: () => bytes };
}

const digestOf = (hash: Hash): Digest => Digest.parse(`sha256:${hash.digest('hex')}`);

async function synced(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
