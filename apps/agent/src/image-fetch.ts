import type { Readable } from 'node:stream';
import { LinkError } from '@berth/link';
import type { LinkAnswer, ReportBody } from '@berth/link';
import type { Digest, ImageContent } from '@berth/model';
import type { ImageRecords } from './image-records.js';

/** Content on this host, by digest. */
export interface BlobKeeper {
  has(digest: Digest): Promise<boolean>;
  /** Said before looking: a removal that is under way leaves these. */
  rely(digests: readonly Digest[]): void;
  /** @throws when it is not here */
  open(digest: Digest): Promise<{ readonly stream: Readable }>;
  put(stream: Readable, options: { digest: Digest; maxBytes: number }): Promise<unknown>;
}

/**
 * Missing blobs are asked for by report; the API pushes them over the link. A blob nobody here waits for is refused,
 * and so is more than its stated size.
 */
export class ImageFetch {
  private readonly wanted = new Map<Digest, { sizeBytes: number; waiters: Set<() => void> }>();

  constructor(
    private readonly blobs: BlobKeeper,
    private readonly report: (body: ReportBody) => void,
    private readonly records: Pick<ImageRecords, 'keep'>,
  ) {}

  async present(image: ImageContent): Promise<boolean> {
    return (await this.missing(image)).length === 0;
  }

  /** Resolves when all blobs are here. Rejects when the signal fires. */
  async fetch(image: ImageContent, signal: AbortSignal): Promise<void> {
    this.blobs.rely(image.blobs.map((blob) => blob.digest));
    await Promise.all(
      (await this.missing(image)).map((blob) => this.wait(blob.digest, blob.sizeBytes, signal)),
    );
    await this.records.keep(image);
    this.report({ kind: 'imageHeld', digest: image.digest });
  }

  /** Takes a pushed blob. @throws LinkError refused (nobody asked), ImageError badDigest, tooLarge */
  async receive(digest: Digest, stream: Readable): Promise<void> {
    const want = this.wanted.get(digest);
    if (want === undefined) {
      if (await this.blobs.has(digest)) return void stream.resume();
      throw new LinkError('refused', `nobody here waits for ${digest}`, { status: 409 });
    }
    await this.blobs.put(stream, { digest, maxBytes: want.sizeBytes });
    // While it came, who waited for it may have left, and others come.
    const waiters = this.wanted.get(digest)?.waiters ?? [];
    this.wanted.delete(digest);
    for (const waiter of waiters) waiter();
  }

  /** What somebody here waits for. */
  awaited(): readonly Digest[] {
    return [...this.wanted.keys()];
  }

  /** A blob that is here, for another host. */
  async give(digest: Digest): Promise<LinkAnswer> {
    if (!(await this.blobs.has(digest)))
      return { status: 404, body: { code: 'notFound', message: `${digest} is not on this host` } };
    return { status: 200, body: (await this.blobs.open(digest)).stream };
  }

  /** Asks again for all that is waited for (a new session). */
  askAgain(): void {
    for (const digest of this.wanted.keys()) this.report({ kind: 'imageWanted', digest });
  }

  private async missing(image: ImageContent): Promise<ImageContent['blobs']> {
    const held = await Promise.all(image.blobs.map((blob) => this.blobs.has(blob.digest)));
    return image.blobs.filter((_, i) => held[i] !== true);
  }

  private async wait(digest: Digest, sizeBytes: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const want = this.wanted.get(digest) ?? { sizeBytes, waiters: new Set() };
    const first = !this.wanted.has(digest);
    this.wanted.set(digest, want);
    await new Promise<void>((resolve, reject) => {
      const done = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        want.waiters.delete(done);
        if (want.waiters.size === 0 && this.wanted.get(digest) === want) this.wanted.delete(digest);
        reject(signal.reason as Error);
      };
      want.waiters.add(done);
      signal.addEventListener('abort', leave, { once: true });
      if (first) this.report({ kind: 'imageWanted', digest });
    });
  }
}
