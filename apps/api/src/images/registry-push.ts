import { createReadStream } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { type BlobStore, defaultArchiveLimits, manifestType, type StoredBlob } from '@berth/images';
import { BerthError, type Digest, type ImageContent } from '@berth/model';
import { refusal, tried, type DownloadPorts } from './download.js';
import { bodyOf, type RegistryClient } from './registry-client.js';
import { Interrupted } from './source-get.js';

/*
 * A push (OCI distribution specification 1.1, "Push"): each blob that the registry lacks, then the manifest under its tag, which makes the
 * image visible there at once and whole.
 *
 *   HEAD blob -> there | POST upload -> PATCH bytes -> PUT digest      (each tried again from its POST)
 *   all blobs there -> PUT manifest
 */

export type PushPorts = Omit<DownloadPorts, 'clock'>;

type OciContent = Extract<ImageContent, { kind: 'oci' }>;

/** Of what a registry says in words, bytes. */
const saidMost = 64 * 1024;
const octets = 'application/octet-stream';

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
  for (const part of parts) {
    await ports.progress(done, total);
    await upload(client, part, blobs, ports, signal);
    done += part.sizeBytes;
  }
  await ports.progress(done, total);
  await tagged(client, tag, manifest, content.digest, ports, signal);
}

/** One blob, unless the registry has it. */
async function upload(
  client: RegistryClient,
  { digest, sizeBytes }: StoredBlob,
  blobs: BlobStore,
  ports: PushPorts,
  signal: AbortSignal,
): Promise<void> {
  const work = async (): Promise<void> => {
    const sources = await ports.sources();
    const there = await client.send({ method: 'HEAD', path: `blobs/${digest}` }, sources, signal);
    there.destroy();
    if (there.statusCode === 200) return;
    if (there.statusCode !== 404) throw await refused(there);
    const begun = await client.send({ method: 'POST', path: 'blobs/uploads/' }, sources, signal);
    const at = await locationOf(client, begun, 202);
    const body = () => createReadStream(blobs.path(digest));
    const headers = { 'content-type': octets };
    const sent = await client.send(
      { method: 'PATCH', at, headers, body, length: sizeBytes },
      sources,
      signal,
    );
    const end = await locationOf(client, sent, 202, 201, 204);
    end.searchParams.set('digest', digest);
    const ended = await client.send({ method: 'PUT', at: end, headers, length: 0 }, sources, signal);
    if (ended.statusCode !== 201 && ended.statusCode !== 204) throw await refused(ended);
    ended.destroy();
  };
  await tried(work, ports, signal, (last, tries) => gaveUp(last, tries, `to send ${digest}`));
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
    if (answer.statusCode !== 201) throw await refused(answer);
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

/** Where an upload goes on. */
async function locationOf(
  client: RegistryClient,
  response: IncomingMessage,
  ...wanted: number[]
): Promise<URL> {
  if (!wanted.includes(response.statusCode ?? 0)) throw await refused(response);
  response.destroy();
  return client.next(response.headers.location ?? '');
}

/** What else a registry answers: for good, or until the next try. */
async function refused(response: IncomingMessage): Promise<Error> {
  const { statusCode: status = 0 } = response;
  const words = wordsOf((await bodyOf(response, saidMost).catch(() => null)) ?? Buffer.alloc(0));
  const said = `the registry answered ${status}${words === '' ? '' : `: ${words}`}`;
  if (status === 405)
    return new BerthError('unsupported', `${said}; it takes no pushes`, {
      remedy: 'Push to another registry: this one is a mirror, or read-only.',
    });
  if (status === 413)
    return new BerthError('tooLarge', said, {
      remedy: 'Raise what the registry, or the proxy before it, takes of one request.',
    });
  if (status === 400 || status === 415 || status === 422)
    return new BerthError('badImage', said, {
      remedy: 'See whether the registry takes OCI images, and this name and tag.',
    });
  // An upload that the registry has forgotten is begun anew.
  if (status === 404 || status === 416) return new Interrupted(said);
  const fault = refusal(response);
  if (fault instanceof Interrupted) return fault;
  return new BerthError('unavailable', said, { remedy: 'Look at the log of the registry.' });
}

/** The registry's own words (distribution specification, "Error Codes"), bounded and on one line. */
function wordsOf(body: Buffer): string {
  try {
    const { errors } = JSON.parse(body.toString('utf8')) as {
      errors?: { code?: unknown; message?: unknown }[];
    };
    const first = errors?.[0];
    return [first?.code, first?.message]
      .filter((word) => typeof word === 'string')
      .join(', ')
      .replace(/[\p{C}\s]+/gu, ' ')
      .slice(0, 200);
  } catch {
    return '';
  }
}

const gaveUp = (last: Interrupted, tries: number, what: string): BerthError =>
  new BerthError('unavailable', `given up after ${tries} tries ${what}: ${last.message}`, {
    remedy:
      'See whether the registry answers others; push the image again, what it has already is not sent twice.',
    cause: last,
  });
