import type { BlobStore, StoredBlob } from '@berth/images';
import { defaultArchiveLimits, manifestType } from '@berth/images';
import { BerthError, type Digest, type ImageContent } from '@berth/model';
import { tried, type DownloadPorts } from './download.js';
import type { RegistryClient } from './registry-client.js';
import { BlobUpload, pushRefused, type UploadPlace } from './registry-upload.js';
import type { Interrupted } from './source-get.js';

/*
 * A push (OCI distribution specification 1.1, "Push"): each blob that the registry lacks, then the manifest under its tag, which makes the
 * image visible there at once and whole.
 *
 *   each blob: see registry-upload.ts -> PUT manifest
 */

export interface PushPorts extends Omit<DownloadPorts, 'clock' | 'progress'> {
  /** What the registry has by now, and how many blobs it took over from its other repositories. */
  readonly progress: (bytes: number, totalBytes: number, mounted: number) => Promise<void>;
  /** Repositories of the same registry that are said to have a blob, the likeliest first. */
  readonly elsewhere: (digest: Digest) => readonly string[];
  readonly place: UploadPlace;
  /** Of one request, at most, bytes. */
  readonly partBytes: number;
}

type OciContent = Extract<ImageContent, { kind: 'oci' }>;

/** @throws BerthError forbidden, notFound, unsupported, badImage, unavailable; ImageError missingBlob; whatever the signal or a port throws */
export async function push(
  client: RegistryClient,
  tag: string,
  content: OciContent,
  blobs: BlobStore,
  ports: PushPorts,
  signal: AbortSignal,
): Promise<void> {
  const manifest = await blobs.read(content.digest, defaultArchiveLimits.documentBytes);
  const parts = content.blobs.filter(({ digest }) => digest !== content.digest);
  // Before anything is sent: what is not here would be missed at the very end.
  for (const { digest } of parts) (await blobs.open(digest)).stream.destroy();
  const total = parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  let done = 0;
  let mounted = 0;
  await ports.progress(0, total, 0);
  for (const part of parts) {
    const sent = (bytes: number): Promise<void> => ports.progress(done + bytes, total, mounted);
    const end = await upload(client, part, blobs, { ...ports, sent }, signal);
    if (end === 'mounted') mounted += 1;
    done += part.sizeBytes;
    await ports.progress(done, total, mounted);
  }
  await tagged(client, tag, manifest, content.digest, ports, signal);
}

/** One blob, unless the registry has it. */
function upload(
  client: RegistryClient,
  blob: StoredBlob,
  blobs: BlobStore,
  ports: PushPorts & { readonly sent: (bytes: number) => Promise<void> },
  signal: AbortSignal,
): ReturnType<BlobUpload['attempt']> {
  const { place, partBytes, sources, sent } = ports;
  const one = new BlobUpload({
    ...{ client, blob, path: blobs.path(blob.digest), partBytes, place, sources, sent, signal },
    elsewhere: ports.elsewhere(blob.digest),
  });
  return tried(
    () => one.attempt(),
    ports,
    signal,
    (last, tries) => gaveUp(last, tries, `to send ${blob.digest}`),
    () => one.bytes,
  );
}

async function tagged(
  client: RegistryClient,
  tag: string,
  manifest: Buffer,
  digest: Digest,
  ports: PushPorts,
  signal: AbortSignal,
): Promise<void> {
  const headers = { 'content-type': manifestType(manifest) };
  const work = async (): Promise<void> => {
    const request = {
      method: 'PUT',
      path: `manifests/${tag}`,
      headers,
      body: manifest,
      length: manifest.length,
    } as const;
    const answer = await client.send(request, await ports.sources(), signal);
    if (answer.statusCode !== 201) throw await pushRefused(answer);
    const named = answer.headers['docker-content-digest'];
    answer.destroy();
    if (named !== undefined && named !== digest)
      throw new BerthError(
        'badImage',
        `the registry took the manifest ${digest} as ${String(named).slice(0, 80)}`,
        {
          remedy: 'Whatever stands before the registry changes what is sent: push to the registry itself.',
        },
      );
  };
  await tried(work, ports, signal, (last, tries) => gaveUp(last, tries, 'to send the manifest'));
}

const gaveUp = (last: Interrupted, tries: number, what: string): BerthError =>
  new BerthError('unavailable', `given up after ${tries} tries ${what}: ${last.message}`, {
    remedy:
      'See whether the registry answers others; push the image again, what it has already is not sent twice.',
    cause: last,
  });
