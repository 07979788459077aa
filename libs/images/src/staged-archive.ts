import { readFile } from 'node:fs/promises';
import { posix } from 'node:path';
import type { Readable } from 'node:stream';
import type { Digest } from '@berth/model';
import { Digest as DigestSchema } from '@berth/model';
import type { z } from 'zod';
import type { BlobStaging, StoredBlob } from './blob-store.js';
import { ImageError } from './image-error.js';
import type { Descriptor, ImageManifest } from './oci-documents.js';
import { archivePath, readFault, tarEntries } from './tar-entries.js';

/** Bounds of one import. */
export interface ArchiveLimits {
  /** Bytes of the whole archive after decompression. */
  readonly totalBytes: number;
  /** Bytes of one blob. */
  readonly blobBytes: number;
  /** Bytes of one index, manifest or configuration. */
  readonly documentBytes: number;
  /** Entries of the archive. */
  readonly entries: number;
  readonly layers: number;
  /** How deep indexes may point to indexes. */
  readonly indexDepth: number;
  /** Architecture wanted from an index, in the model's words. */
  readonly arch: string;
}

export const defaultArchiveLimits: ArchiveLimits = {
  totalBytes: 32 * 2 ** 30,
  blobBytes: 16 * 2 ** 30,
  documentBytes: 4 * 2 ** 20,
  entries: 10_000,
  layers: 128,
  indexDepth: 3,
  arch: 'x86_64',
};

/** A file of an image layout: its path in the layout, where it lies, and its digest where that was looked at. */
export interface LayoutFile {
  readonly path: string;
  readonly file: string;
  readonly known?: StoredBlob;
}

/** The regular files of an archive, staged and hashed, by their path. */
export class StagedArchive {
  private readonly files = new Map<string, StoredBlob>();
  private readonly links = new Map<string, string>();
  private entries = 0;

  constructor(
    readonly staging: BlobStaging,
    readonly limits: ArchiveLimits,
  ) {}

  /** @throws ImageError badArchive, badDigest, tooLarge, hostFault */
  async readAll(tar: Readable): Promise<void> {
    try {
      await this.readEntries(tar);
    } catch (e) {
      throw readFault(e);
    }
  }

  /** Takes whole files by hard links. @throws ImageError badDigest, tooLarge */
  async adoptAll(files: readonly LayoutFile[]): Promise<void> {
    for (const { path, file, known } of files) {
      const blob = await this.staging.adopt(file, known);
      const stated = blobDigest(path);
      if (stated !== null && stated !== blob.digest) refuse('badDigest', `${path} hashes to ${blob.digest}`);
      if (blob.sizeBytes > this.limits.blobBytes)
        refuse('tooLarge', `${path} is larger than ${this.limits.blobBytes} bytes`);
      this.files.set(path, blob);
    }
  }

  private async readEntries(tar: Readable): Promise<void> {
    for await (const entry of tarEntries(tar, this.limits.totalBytes)) {
      if (++this.entries > this.limits.entries)
        refuse('tooLarge', `it has more than ${this.limits.entries} entries`);
      const { name, type, linkname } = entry.header;
      const path = archivePath(name, 8, 'badArchive').join('/');
      if (this.files.has(path) || this.links.has(path)) refuse('badArchive', `it names ${path} twice`);
      if (type === 'file') {
        const digest = blobDigest(path);
        const maxBytes = this.limits.blobBytes;
        const options = digest ? { digest, maxBytes } : { maxBytes };
        this.files.set(path, await this.staging.write(entry.content, options));
        continue;
      }
      if (type === 'symlink') this.links.set(path, posix.join(posix.dirname(path), linkname));
      else if (type !== 'directory') refuse('badArchive', `entry ${path} is a ${type}`);
    }
  }

  has(path: string): boolean {
    return this.file(path) !== null;
  }

  /** A file by its path in the archive; older `docker save` links equal layers to each other, at most once. */
  file(path: string): StoredBlob | null {
    return this.files.get(path) ?? this.files.get(this.links.get(path) ?? '') ?? null;
  }

  /** A JSON document by its path in the archive. @throws ImageError badArchive, tooLarge */
  async document<T>(path: string, schema: z.ZodType<T>): Promise<T> {
    const file = this.file(path);
    if (file === null) return refuse('badArchive', `${path} is missing`);
    if (file.sizeBytes > this.limits.documentBytes) return refuse('tooLarge', `${path} is too large`);
    const bytes = await readFile(
      this.staging.path(file.digest) ?? refuse('badArchive', `${path} is missing`),
    );
    return parseDocument(path, bytes, schema);
  }

  /** A blob that a descriptor points to, checked against the size it states. @throws ImageError badArchive, badDigest */
  blob(d: Pick<Descriptor, 'digest' | 'size'>): StoredBlob {
    const sizeBytes = this.staging.size(d.digest);
    if (sizeBytes === null) return refuse('badArchive', `blob ${d.digest} is missing`);
    if (sizeBytes !== d.size)
      return refuse('badDigest', `blob ${d.digest} has ${sizeBytes} bytes where ${d.size} are stated`);
    return { digest: d.digest, sizeBytes };
  }

  /** A blob that is a JSON document. @throws ImageError badArchive, badDigest, tooLarge */
  async blobDocument<T>(d: Pick<Descriptor, 'digest' | 'size'>, schema: z.ZodType<T>): Promise<T> {
    if (this.blob(d).sizeBytes > this.limits.documentBytes)
      return refuse('tooLarge', `${d.digest} is too large`);
    const path = this.staging.path(d.digest) ?? refuse('badArchive', `blob ${d.digest} is missing`);
    return parseDocument(d.digest, await readFile(path), schema);
  }
}

/** A manifest and the blob it is stored in. */
export interface FoundManifest {
  readonly manifest: ImageManifest;
  readonly blob: StoredBlob;
}

/** The digest that a path in the layout claims (image-spec, "Image Layout"), or null for other files. */
function blobDigest(path: string): Digest | null {
  const match = /^blobs\/([^/]+)\/([^/]+)$/.exec(path);
  if (match === null) return null;
  const digest = DigestSchema.safeParse(`${match[1]}:${match[2]}`);
  if (!digest.success) return refuse('unsupported', `${path} is not a sha256 blob`);
  return digest.data;
}

function parseDocument<T>(what: string, bytes: Buffer, schema: z.ZodType<T>): T {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    return refuse('badArchive', `${what} is not JSON`);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  return refuse(
    'badArchive',
    `${what} is not valid: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`,
  );
}

/** @throws ImageError always */
export function refuse(
  code: 'badArchive' | 'badDigest' | 'unsupported' | 'tooLarge',
  why: string,
  remedy = 'Build or save the image again; taken are OCI layout and docker save archives, plain or gzip.',
): never {
  throw new ImageError(code, `the archive is refused: ${why}`, remedy);
}
