import type { BlobStore } from '@berth/images';
import type { Digest, HostId } from '@berth/model';
import type { Clock, ImageStore } from '../store/store.js';

export interface CollectorPorts {
  readonly store: Pick<ImageStore, 'imageBlobs' | 'hostsWithUnusedImages'>;
  readonly blobs: BlobStore;
  readonly clock: Clock;
  /** The list of a host has orders to remove images. */
  readonly dispatch: (hostId: HostId) => void;
  readonly log: { info(context: object, message: string): void };
  /** What no image of any project uses stays for this long, ms. */
  readonly graceMs: number;
}

/**
 * Removes from the API's own store what no image of any project has used for a time of grace. How long that is so is
 * remembered by this process: the time begins anew with the next one. Hosts are told in their lists, which this sends again
 * from time to time.
 */
export class BlobCollector {
  private unusedSince = new Map<Digest, number>();

  constructor(private readonly o: CollectorPorts) {}

  async collect(): Promise<void> {
    const { store, blobs, log, dispatch } = this.o;
    const due = await this.due();
    if (due.length > 0) {
      const gone = await blobs.collect(() => store.imageBlobs(), due);
      for (const { digest } of gone) this.unusedSince.delete(digest);
      if (gone.length > 0) log.info({ blobs: gone }, 'content that no image uses was removed');
    }
    for (const hostId of await store.hostsWithUnusedImages()) dispatch(hostId);
  }

  /** What has been unused for long enough. */
  private async due(): Promise<Digest[]> {
    const { store, blobs, clock, graceMs } = this.o;
    const now = clock.now().getTime();
    const held = await blobs.list();
    const used = await store.imageBlobs();
    const since = new Map<Digest, number>();
    for (const { digest } of held)
      if (!used.has(digest)) since.set(digest, this.unusedSince.get(digest) ?? now);
    this.unusedSince = since;
    return [...since].filter(([, at]) => now - at >= graceMs).map(([digest]) => digest);
  }
}
