import { createHash } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  defaultArchiveLimits,
  type Descriptor,
  ImageIndex,
  ImageManifest,
  layerFault,
  type LayoutFile,
  manifestsFor,
  mediaTypes,
} from '@berth/images';
import { BerthError, Digest } from '@berth/model';
import type { z } from 'zod';
import { Turns } from '../ledger/turns.js';
import { downloadTo, type DownloadPorts, refusal, tried } from './download.js';
import { bodyOf, type RegistryClient } from './registry-client.js';
import type { Places } from './registry-mirrors.js';
import { Interrupted } from './source-get.js';

/*
 * A pull: the reference leads to the manifest of this platform, its config and layers come side by side into files of their
 * own that outlive this process, and together they are an OCI image layout, which is imported as an uploaded one is.
 *
 *   tag or digest -> index* -> manifest -> config, layers (each: parts -> whole -> digest) -> layout
 */

/** Config and layers of one image that are downloaded at the same time. */
const atOnce = 3;
const { documentBytes, indexDepth, layers: layersMost, arch } = defaultArchiveLimits;

const acceptable = [...mediaTypes.manifest, ...mediaTypes.index].join(', ');
const schema1 = /^application\/vnd\.docker\.distribution\.manifest\.v1\+/;

export interface PullPorts extends DownloadPorts {
  /** The manifest was found that the reference leads to. */
  readonly resolved: (digest: Digest) => Promise<void>;
}

/** A document of the registry, whose bytes hash to its digest. */
interface Document {
  readonly bytes: Buffer;
  readonly digest: Digest;
  readonly mediaType: string;
  readonly content: object;
}

/**
 * Pulls what `wanted` (a tag, or a digest) names into `dir`, going on with what is there from an earlier process. The files
 * do not change any more. @throws BerthError badImage, forbidden, notFound, tooLarge, unsupported, unavailable; whatever the
 * signal or a port throws
 */
export async function pull(
  places: Places,
  wanted: string,
  dir: string,
  ports: PullPorts,
  signal: AbortSignal,
): Promise<readonly LayoutFile[]> {
  const found = await platformManifest(places, wanted, ports, signal);
  const parts = partsOf(read(found, ImageManifest), ports.limits.maxBytes);
  await ports.resolved(found.digest);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const blobs = await downloaded(places, parts, dir, ports, signal);
  const { digest, mediaType, bytes } = found;
  const index = JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType, digest, size: bytes.length }] });
  return [
    ...blobs,
    await written(join(dir, 'manifest'), layoutPath(digest), bytes),
    await written(join(dir, 'index'), 'index.json', Buffer.from(index)),
  ];
}

const layoutPath = (digest: Digest): string => `blobs/${digest.replace(':', '/')}`;

/** In place of an earlier process's, never into it: that may be linked to. */
async function written(file: string, path: string, bytes: Buffer): Promise<LayoutFile> {
  await rm(file, { force: true });
  await writeFile(file, bytes, { flag: 'wx', mode: 0o600, flush: true });
  return { path, file };
}

/** Follows indexes to the manifest for our platform. */
async function platformManifest(
  places: Places,
  wanted: string,
  ports: PullPorts,
  signal: AbortSignal,
): Promise<Document> {
  let found = await document(places, wanted, null, ports, signal);
  for (let depth = 1; mediaTypes.index.has(found.mediaType); depth += 1) {
    if (depth > indexDepth)
      throw refused('tooLarge', `indexes point to each other more than ${indexDepth} deep`);
    // Of several that fit the first is meant (image-spec, "Image Index").
    const [chosen] = manifestsFor(read(found, ImageIndex), arch);
    if (chosen === undefined)
      throw refused(
        'unsupported',
        `it holds nothing for linux/${arch} that every such machine can run`,
        `Build or choose one for linux/${arch}.`,
      );
    if (chosen.size > documentBytes)
      throw refused('tooLarge', `${chosen.digest} is too large for a manifest`);
    found = await document(places, chosen.digest, chosen, ports, signal);
  }
  return found;
}

/** What a manifest needs, each once. All that can be refused by it alone is refused here, before anything is downloaded. */
function partsOf({ config, layers }: ImageManifest, maxBytes: number): readonly Descriptor[] {
  if (!mediaTypes.config.has(config.mediaType))
    throw refused('unsupported', `it is no image but ${config.mediaType}`, 'Name a container image.');
  if (layers.length > layersMost) throw refused('tooLarge', `it has more than ${layersMost} layers`);
  for (const layer of layers) {
    const fault = layerFault(layer);
    if (fault !== null)
      throw refused(
        'unsupported',
        fault,
        'Build the image with layers of its own that are tar, gzip or zstd.',
      );
  }
  if (config.size > documentBytes)
    throw refused('tooLarge', `${config.digest} is too large for a configuration`);
  const parts = new Map<Digest, Descriptor>();
  for (const part of [config, ...layers]) {
    const other = parts.get(part.digest);
    if (other !== undefined && other.size !== part.size)
      throw refused('badImage', `it states two sizes for ${part.digest}`);
    parts.set(part.digest, part);
  }
  const unique = [...parts.values()];
  if (totalOf(unique) > maxBytes)
    throw refused(
      'tooLarge',
      `it has more than ${maxBytes} bytes`,
      'Use a smaller image, or raise uploadMaxMiB in the configuration of the API.',
    );
  return unique;
}

const totalOf = (parts: readonly Descriptor[]): number => parts.reduce((sum, { size }) => sum + size, 0);

/** All parts, some at a time; the first that fails ends the others. */
async function downloaded(
  places: Places,
  parts: readonly Descriptor[],
  dir: string,
  ports: PullPorts,
  signal: AbortSignal,
): Promise<readonly LayoutFile[]> {
  const total = totalOf(parts);
  const here = new Map<Digest, number>();
  const turns = new Turns(atOnce);
  const others = new AbortController();
  const either = AbortSignal.any([signal, others.signal]);
  const one = async (part: Descriptor): Promise<LayoutFile> => {
    either.throwIfAborted();
    const progress = (bytes: number): Promise<void> => {
      here.set(part.digest, bytes);
      return ports.progress(
        [...here.values()].reduce((sum, n) => sum + n, 0),
        total,
      );
    };
    return blob(places, part, join(dir, part.digest.slice('sha256:'.length)), { ...ports, progress }, either);
  };
  const ends = await Promise.allSettled(
    parts.map((part) =>
      turns
        .take(() => one(part))
        .catch((error: unknown) => {
          others.abort(error);
          throw error;
        }),
    ),
  );
  signal.throwIfAborted();
  // The reason of the abort is the first failure; the others only follow from it.
  if (others.signal.aborted) throw others.signal.reason;
  return ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
}

/** One blob, of the digest that names it. One that was put together from parts is tried again whole. */
async function blob(
  places: Places,
  { digest, size: sizeBytes }: Descriptor,
  dir: string,
  ports: PullPorts,
  signal: AbortSignal,
): Promise<LayoutFile> {
  const other = (found: Digest): BerthError =>
    refused('badImage', `the content of ${digest} hashes to ${found}`, damaged);
  // Parts from one place and another belong together: their digest decides.
  const file = await places.first(
    (client, here) => {
      const get = client.get.bind(client, `blobs/${digest}`);
      return downloadTo(dir, { get, sizeBytes }, digest, here, signal, other);
    },
    ports,
    signal,
  );
  return { path: layoutPath(digest), file: file.path, ...(file.known && { known: file.known }) };
}

/** A manifest or index, by tag or by digest. */
async function document(
  places: Places,
  wanted: string,
  stated: Descriptor | null,
  ports: PullPorts,
  signal: AbortSignal,
): Promise<Document> {
  const work = async (client: RegistryClient): Promise<Document> => {
    const headers = { accept: acceptable };
    const response = await client.get(`manifests/${wanted}`, headers, await ports.sources(), signal);
    if (response.statusCode !== 200) {
      response.destroy();
      throw refusal(response);
    }
    const { 'content-type': type = '', 'docker-content-digest': named } = response.headers;
    const bytes = await bodyOf(response, documentBytes);
    if (bytes === null) throw refused('tooLarge', `its manifest has more than ${documentBytes} bytes`);
    const digest = Digest.parse(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
    const expected = wanted.startsWith('sha256:') ? wanted : (named ?? digest);
    // The header may name a digest of another algorithm, which says nothing here.
    if (digest !== expected && String(expected).startsWith('sha256:'))
      throw refused(
        'badImage',
        `the manifest that it should find as ${expected} hashes to ${digest}`,
        damaged,
      );
    if (stated !== null && stated.size !== bytes.length)
      throw refused(
        'badImage',
        `${digest} has ${bytes.length} bytes where ${stated.size} are stated`,
        damaged,
      );
    return typed(bytes, digest, type, stated?.mediaType ?? null);
  };
  const gaveUp = (last: Interrupted, tries: number): BerthError =>
    new BerthError('unavailable', `given up after ${tries} tries to read the manifest: ${last.message}`, {
      remedy: 'See whether the registry answers others; import the image again.',
      cause: last,
    });
  return places.first((client, here) => tried(() => work(client), here, signal, gaveUp), ports, signal);
}

/**
 * What a document is: the registry's header, the document itself and whoever pointed to it must agree, and it must not be
 * two things at once, or another reader would take it for another image (CVE-2021-41190).
 */
function typed(bytes: Buffer, digest: Digest, header: string, pointed: string | null): Document {
  const said = header.split(';')[0]?.trim().toLowerCase() ?? '';
  const known = (type: unknown): type is string =>
    typeof type === 'string' && (mediaTypes.manifest.has(type) || mediaTypes.index.has(type));
  const content = jsonObject(bytes);
  const own = content?.['mediaType'];
  if (schema1.test(said) || content?.['schemaVersion'] === 1)
    throw refused(
      'unsupported',
      'its manifest is of Docker’s schema 1, whose layers nothing vouches for',
      'Push the image again with a tool of this decade.',
    );
  if (content === null || (!known(said) && !known(own)))
    throw refused(
      'badImage',
      `the registry answers with ${JSON.stringify(said.slice(0, 64))}, which is no manifest`,
      'See whether a registry is there: https://HOST/v2/ answers with JSON.',
    );
  const types = new Set([known(said) ? said : own, own ?? said, pointed ?? said].filter(known));
  if (types.size > 1 || (own !== undefined && !known(own)))
    throw refused(
      'badImage',
      `its manifest is called ${[...types, own].filter((t) => t !== undefined).join(' and ')}`,
    );
  if ('manifests' in content && ('layers' in content || 'config' in content))
    throw refused('badImage', 'its manifest is an index too');
  return { bytes, digest, mediaType: [...types][0] ?? said, content };
}

function jsonObject(bytes: Buffer): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function read<T>({ content, digest }: Document, schema: z.ZodType<T>): T {
  const parsed = schema.safeParse(content);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw refused(
    'badImage',
    `${digest} is not valid: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`,
  );
}

const damaged = 'The registry’s copy is damaged, or somebody changes it on its way: push the image again.';

function refused(
  code: 'badImage' | 'tooLarge' | 'unsupported',
  why: string,
  remedy = 'Build and push the image again.',
): BerthError {
  return new BerthError(code, `the image is refused: ${why}`, { remedy });
}
