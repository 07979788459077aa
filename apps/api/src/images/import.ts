import type { Readable } from 'node:stream';
import {
  BerthError,
  operationError,
  type Image,
  type ImageKind,
  type Operation,
  type ProjectId,
} from '@berth/model';
import type { HttpDeps } from '../http/deps.js';
import type { RequestContext } from '../store/store.js';
import { asImportError, contentOfStream } from './image-content.js';

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
  // From before its blobs are visible until its row is: between the two nothing on record uses them.
  const hold = deps.blobs.hold();
  try {
    const bounds = { blobs: deps.blobs, maxBytes: deps.config.imageMaxBytes };
    const content = await contentOfStream(bounds, upload.kind, stream);
    const { projectId, name } = upload;
    const made = await deps.store.imageImported(ctx, { projectId, name, content, operationId: operation.id });
    deps.wake.ledger();
    for (const host of made.image.hosts) deps.wake.dispatch(host.id);
    return made;
  } catch (thrown) {
    const error = asImportError(thrown);
    await deps.store.operationFinish(operation.id, operationError(error));
    throw error;
  } finally {
    hold.release();
  }
}
