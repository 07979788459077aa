import type { Readable } from 'node:stream';
import { ImageError, importArchive, inspectNewDisk, type ImageErrorCode } from '@berth/images';
import {
  BerthError,
  type ErrorCode,
  type Image,
  type ImageContent,
  type ImageKind,
  type Operation,
  type ProjectId,
} from '@berth/model';
import type { HttpDeps } from '../http/deps.js';
import type { RequestContext } from '../store/store.js';

type Deps = Pick<HttpDeps, 'store' | 'blobs' | 'config' | 'ids' | 'wake'>;

/** One upload: which image of which project. */
export interface ImageUpload {
  readonly projectId: ProjectId;
  readonly name: string;
  readonly kind: ImageKind;
}

const importSeconds = 3600;

/**
 * Streams an upload into the blob store, verifies it, then makes it an image. Nothing is visible before it is verified;
 * the operation records who imported what, and how it ended. @throws nameTaken, badImage, unsupported, tooLarge, unavailable
 */
export async function imageImport(
  deps: Deps,
  ctx: RequestContext,
  upload: ImageUpload,
  stream: Readable,
): Promise<{ operation: Operation; image: Image }> {
  if ((await deps.store.imageGet(upload.projectId, upload.name)) !== null)
    throw new BerthError('nameTaken', `There is an image "${upload.name}" already.`, {
      remedy: 'Choose another name; images are immutable.',
    });
  // Its own trail, not the key's: the answer is kept with the image.
  const { idempotency: _, ...trail } = ctx;
  const operation = await deps.store.operationStart(trail, {
    projectId: upload.projectId,
    kind: 'imageImport',
    target: { kind: 'image', id: deps.ids.uuid(), name: upload.name },
    deadlineSeconds: importSeconds,
  });
  try {
    const content = await contentOf(deps, upload.kind, stream);
    const { projectId, name } = upload;
    const made = await deps.store.imageImported(ctx, { projectId, name, content, operationId: operation.id });
    deps.wake.ledger();
    return made;
  } catch (thrown) {
    const error = asImportError(thrown);
    await deps.store.operationFinish(operation.id, {
      code: error.code,
      message: error.publicMessage,
      ...(error.options.remedy === undefined ? {} : { remedy: error.options.remedy }),
    });
    throw error;
  }
}

async function contentOf(deps: Deps, kind: ImageKind, stream: Readable): Promise<ImageContent> {
  const maxBytes = deps.config.imageMaxBytes;
  if (kind === 'oci') return importArchive(stream, deps.blobs, { totalBytes: maxBytes, blobBytes: maxBytes });
  const staging = await deps.blobs.stage();
  try {
    const { digest, sizeBytes } = await staging.write(stream, { maxBytes });
    const { format, virtualSizeMiB } = await inspectNewDisk(staging.path(digest) ?? deps.blobs.path(digest));
    await staging.publish([digest]);
    return { kind: 'disk', digest, format, sizeBytes, virtualSizeMiB, blobs: [{ digest, sizeBytes }] };
  } finally {
    await staging.discard();
  }
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

function asImportError(thrown: unknown): BerthError {
  if (thrown instanceof BerthError) return thrown;
  if (thrown instanceof ImageError) {
    return new BerthError(codes[thrown.code], thrown.message, { remedy: thrown.remedy, cause: thrown });
  }
  const code = (thrown as NodeJS.ErrnoException | null)?.code;
  if (code === 'ECONNRESET' || code === 'ERR_STREAM_PREMATURE_CLOSE')
    return new BerthError('malformed', 'The upload ended before its last byte.', { cause: thrown });
  return new BerthError('internal', 'The import met an error the API did not foresee.', { cause: thrown });
}
