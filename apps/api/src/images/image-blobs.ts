import type { BlobStore } from '@berth/images';
import { BerthError, type Digest, type Image } from '@berth/model';

/**
 * Says that blobs of an image are about to be read here, and looks whether they are: those that are not here any more may lie on hosts, which
 * use them and give them to each other. @param only these of its blobs; all when absent @throws BerthError stateConflict
 */
export async function blobsHere(blobs: BlobStore, image: Image, only?: readonly Digest[]): Promise<void> {
  const { blobs: stated } = image.content;
  const wanted = only ?? stated.map(({ digest }) => digest);
  blobs.rely(wanted);
  for (const digest of wanted) {
    const size = await blobs.size(digest);
    const should = stated.find((b) => b.digest === digest)?.sizeBytes ?? size;
    if (size === null || size !== should)
      throw new BerthError('stateConflict', `${digest} of image "${image.name}" is not in the API’s store`, {
        remedy: 'Import the image again, under another name; content that is the same is kept once.',
      });
  }
}
