import type { Readable } from 'node:stream';
import {
  ImageError,
  importArchive,
  inspectIso,
  inspectNewDisk,
  type BlobStaging,
  type BlobStore,
  type ImageErrorCode,
  type StoredBlob,
} from '@berth/images';
import { BerthError, type ErrorCode, type ImageContent, type ImageKind } from '@berth/model';

/** Where content goes, and how much of it is taken. */
export interface ContentBounds {
  readonly blobs: BlobStore;
  readonly maxBytes: number;
}

/** Verifies a stream and makes its blobs visible. @throws ImageError */
export function contentOfStream(
  { blobs, maxBytes }: ContentBounds,
  kind: ImageKind,
  stream: Readable,
): Promise<ImageContent> {
  if (kind === 'oci') return importArchive(stream, blobs, { totalBytes: maxBytes, blobBytes: maxBytes });
  return contentOfFile(blobs, kind, (staging) => staging.write(stream, { maxBytes }));
}

/** Verifies an image that is one file, staged by `stage`, and makes it visible. @throws ImageError */
export async function contentOfFile(
  blobs: BlobStore,
  kind: Exclude<ImageKind, 'oci'>,
  stage: (staging: BlobStaging) => Promise<StoredBlob>,
): Promise<ImageContent> {
  const staging = await blobs.stage();
  try {
    const { digest, sizeBytes } = await stage(staging);
    const facts = await factsOf(kind, staging.path(digest) ?? blobs.path(digest));
    await staging.publish([digest]);
    return { ...facts, digest, sizeBytes, blobs: [{ digest, sizeBytes }] };
  } finally {
    await staging.discard();
  }
}

async function factsOf(kind: Exclude<ImageKind, 'oci'>, path: string) {
  if (kind === 'iso') return { kind, ...(await inspectIso(path)) } as const;
  const { format, virtualSizeMiB } = await inspectNewDisk(path);
  return { kind, format, virtualSizeMiB } as const;
}

const codes: Readonly<Record<ImageErrorCode, ErrorCode>> = {
  badArchive: 'badImage',
  badDigest: 'badImage',
  badLayer: 'badImage',
  badDisk: 'badImage',
  missingBlob: 'badImage',
  unsupported: 'unsupported',
  tooLarge: 'tooLarge',
  deadline: 'unavailable',
  hostFault: 'unavailable',
};

export function asImportError(thrown: unknown): BerthError {
  if (thrown instanceof BerthError) return thrown;
  if (thrown instanceof ImageError) {
    return new BerthError(codes[thrown.code], thrown.message, { remedy: thrown.remedy, cause: thrown });
  }
  const code = (thrown as NodeJS.ErrnoException | null)?.code;
  if (code === 'ECONNRESET' || code === 'ERR_STREAM_PREMATURE_CLOSE')
    return new BerthError('malformed', 'The upload ended before its last byte.', { cause: thrown });
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new BerthError('unavailable', 'The disk of the API is full.', {
      remedy: 'Make room below the directory of the API’s blobs, and import the image again.',
      cause: thrown,
    });
  return new BerthError('internal', 'The import met an error the API did not foresee.', { cause: thrown });
}
