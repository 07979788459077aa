import {
  archiveParts,
  defaultArchiveLimits,
  type BlobStore,
  type FilePart,
  manifestType,
  partsRead,
  partsSize,
  partsTag,
} from '@berth/images';
import type { Image } from '@berth/model';
import { blobsHere } from './image-blobs.js';

/** An image as one file, made up while it is read. */
export interface ImageFile {
  readonly name: string;
  readonly sizeBytes: number;
  readonly tag: string;
  /** The bytes from `first` on. */
  read(first: number): AsyncIterable<Uint8Array>;
}

/**
 * The file that importing would make the same image of: an archive of containers' images, else the disk or the medium itself. What it
 * consists of is kept, though the image be deleted meanwhile, until `gone` fires. @throws BerthError stateConflict
 */
export async function imageFile(blobs: BlobStore, image: Image, gone: AbortSignal): Promise<ImageFile> {
  const hold = blobs.hold();
  gone.addEventListener('abort', () => hold.release(), { once: true });
  if (gone.aborted) hold.release();
  await blobsHere(blobs, image);
  const parts = await partsOf(blobs, image);
  return {
    name: `${image.name}.${ending(image)}`,
    sizeBytes: partsSize(parts),
    tag: partsTag(parts),
    read: (first) => partsRead(parts, first, blobs),
  };
}

async function partsOf(blobs: BlobStore, { name, content }: Image): Promise<readonly FilePart[]> {
  if (content.kind !== 'oci') return content.blobs.map((blob) => ({ blob }));
  const manifest = await blobs.read(content.digest, defaultArchiveLimits.documentBytes);
  return archiveParts(content, manifestType(manifest), name);
}

function ending({ content }: Image): string {
  if (content.kind === 'oci') return 'tar';
  return content.kind === 'iso' ? 'iso' : content.format;
}
