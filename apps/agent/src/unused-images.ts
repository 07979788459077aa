import type { BlobStore, LayerStore, RootStore } from '@berth/images';
import type { ReportBody } from '@berth/link';
import type { Digest, ImageContent } from '@berth/model';
import { Wakeup } from './clock.js';
import type { Clock } from './clock.js';
import type { ImageRecords } from './image-records.js';
import type { AgentLog } from './log.js';

/*
 * The removal of images, by order of the API alone. The order counts while it is listed:
 *
 *   listed -> waits for the time of grace -> nothing here uses it: blobs, layers, record, report
 *      |                                  -> something does: asked again later
 *      +-- not listed any more: forgotten, and what was kept stays
 */

/** Where content lies on this host. */
export interface ImageStores {
  readonly blobs: Pick<BlobStore, 'collect' | 'path'>;
  /** Null where no containers are run. */
  readonly layers: Pick<LayerStore, 'collect'> | null;
  /** Null where no microVMs are run. */
  readonly roots: Pick<RootStore, 'collect'> | null;
  /** Paths of the images that disks on this host stand on. @throws where that cannot be told */
  readonly bases: () => Promise<ReadonlySet<string>>;
}

export interface UnusedImagesOptions {
  readonly clock: Clock;
  readonly log: AgentLog;
  readonly stores: ImageStores;
  readonly records: ImageRecords;
  /** Images of all placements that the journal knows, whatever their state. */
  readonly placed: () => readonly ImageContent[];
  /** Blobs that somebody here waits for. */
  readonly awaited: () => readonly Digest[];
  /** Why it cannot be told now what is in use here, or null. */
  readonly unsure: (image: ImageContent) => string | null;
  readonly report: (body: ReportBody) => void;
  readonly graceMs: number;
  /** From one look to the next, milliseconds. */
  readonly everyMs: number;
}

const blobsOf = (images: readonly ImageContent[]): Digest[] =>
  images.flatMap((i) => i.blobs.map((b) => b.digest));
const layersOf = (images: readonly ImageContent[]): Digest[] =>
  images.flatMap((i) => (i.kind === 'oci' ? i.layers.map((l) => l.diffId) : []));

export class UnusedImages {
  /** By digest: since when it is listed, milliseconds. */
  private orders = new Map<Digest, number>();
  private readonly wakeup = new Wakeup();
  private readonly life = new AbortController();
  private readonly loop: Promise<void>;

  constructor(private readonly o: UnusedImagesOptions) {
    this.loop = this.run();
  }

  /** The orders of the newest list. */
  want(digests: readonly Digest[]): void {
    const now = this.o.clock.now().getTime();
    this.orders = new Map(digests.map((digest) => [digest, this.orders.get(digest) ?? now]));
    this.wakeup.wake();
  }

  async close(): Promise<void> {
    this.life.abort(new Error('the agent ends'));
    this.wakeup.wake();
    await this.loop;
  }

  private async run(): Promise<void> {
    const { clock, everyMs, log } = this.o;
    while (!this.life.signal.aborted) {
      for (const digest of this.due())
        await this.carryOut(digest).catch((err: unknown) =>
          log.warn({ err, digest }, 'an image could not be removed; it is tried again'),
        );
      await this.wakeup.wait(clock, everyMs, this.life.signal);
    }
  }

  private due(): Digest[] {
    const now = this.o.clock.now().getTime();
    return [...this.orders].filter(([, since]) => now - since >= this.o.graceMs).map(([digest]) => digest);
  }

  private async carryOut(digest: Digest): Promise<void> {
    const { records, stores, log, report } = this.o;
    const image = records.get(digest);
    if (image !== null) {
      const why = this.o.unsure(image) ?? (await this.usedBy(image));
      if (why !== null) return log.debug({ digest, why }, 'an image that is to be removed stays for now');
      const others = (): ImageContent[] => [
        ...records.all().filter((other) => other.digest !== digest),
        ...this.o.placed(),
      ];
      await stores.blobs.collect(
        () => Promise.resolve(new Set([...blobsOf(others()), ...this.o.awaited()])),
        blobsOf([image]),
      );
      await stores.layers?.collect(layersOf([image]), () => Promise.resolve(new Set(layersOf(others()))));
      if (image.kind === 'oci')
        await stores.roots?.collect([image.digest], () =>
          Promise.resolve(new Set(others().map((i) => i.digest))),
        );
      // Somebody came for it meanwhile: then it is as good as never removed, and is whole again by its next use.
      if (!this.orders.has(digest) || this.placedHere(image)) return;
      await records.remove(digest);
      log.info({ digest }, 'an image that no project has any more was removed');
    }
    this.orders.delete(digest);
    report({ kind: 'imageRemoved', digest });
  }

  private async usedBy(image: ImageContent): Promise<string | null> {
    if (this.placedHere(image)) return 'a placement uses it';
    const bases = await this.o.stores.bases();
    const base = image.blobs.find((blob) => bases.has(this.o.stores.blobs.path(blob.digest)));
    return base === undefined ? null : 'a disk stands on it';
  }

  private placedHere({ digest }: ImageContent): boolean {
    return this.o.placed().some((other) => other.digest === digest);
  }
}
