import {
  type BlobStore,
  imageChanges,
  type ImageChange,
  layerFiles,
  type LayerNode,
  mergedFiles,
  ratioBytes,
} from '@berth/images';
import { BerthError, type Digest } from '@berth/model';
import { Turns } from '../ledger/turns.js';
import type { OciContent } from './commit-documents.js';
import { asImportError } from './image-content.js';

/** Answers that are kept for whoever asks for their next page. */
const keptMost = 4;
const waitingMost = 8;
const limits = { entries: 300_000, changes: 200_000, depth: 64, tarBytes: 16 * 2 ** 30 };

/** Compares images by reading their layers here, one comparison after the other: an image is the same for ever, and so is its difference to another. */
export class ImageDiffs {
  private readonly turns = new Turns(1);
  private readonly kept = new Map<string, Promise<readonly ImageChange[]>>();
  private waiting = 0;

  constructor(private readonly blobs: BlobStore) {}

  /** What `after` adds, changes and lacks. @throws BerthError badImage, tooLarge, unavailable */
  changes(before: OciContent, after: OciContent): Promise<readonly ImageChange[]> {
    const of = `${before.digest} ${after.digest}`;
    const found = this.kept.get(of) ?? this.begun(before, after);
    // The latest asked for is the last to be forgotten.
    this.kept.delete(of);
    this.kept.set(of, found);
    for (const oldest of [...this.kept.keys()].slice(0, -keptMost)) this.kept.delete(oldest);
    found.catch(() => this.kept.delete(of));
    return found;
  }

  private async begun(before: OciContent, after: OciContent): Promise<readonly ImageChange[]> {
    if (this.waiting >= waitingMost)
      throw new BerthError('unavailable', 'Too many images are being compared already.', {
        remedy: 'Ask again in a minute.',
      });
    this.waiting += 1;
    try {
      return await this.turns.take(() => this.compared(before, after));
    } catch (error) {
      throw asImportError(error);
    } finally {
      this.waiting -= 1;
    }
  }

  private async compared(before: OciContent, after: OciContent): Promise<readonly ImageChange[]> {
    const read = new Map<Digest, LayerNode>();
    for (const { digest, mediaType, sizeBytes } of [...before.layers, ...after.layers]) {
      if (read.has(digest)) continue;
      const bounds = { ...limits, tarBytes: Math.min(limits.tarBytes, ratioBytes(sizeBytes)) };
      read.set(digest, await layerFiles(this.blobs.path(digest), mediaType, bounds));
    }
    const tree = ({ layers }: OciContent): LayerNode =>
      mergedFiles(layers.map(({ digest }) => read.get(digest) as LayerNode));
    const all: ImageChange[] = [];
    for (const change of imageChanges(tree(before), tree(after))) {
      if (all.push(change) > limits.changes)
        throw new BerthError('tooLarge', `More than ${limits.changes} paths of the images differ.`, {
          remedy: 'Compare images that have more in common.',
        });
    }
    return all;
  }
}
