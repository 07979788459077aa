import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { BlobStore } from '@berth/images';
import type { Digest } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BlobCollector } from '../../apps/api/src/images/blob-collector.js';
import { imageImport } from '../../apps/api/src/images/import.js';
import { ctx, ids, joinHost, world, type World } from '../store/fixture.js';
import { startPostgres, type ThrowawayPostgres } from '../support/postgres.js';

/* What the API's own store keeps and removes: real Postgres, real blob store; the clock is the test's. */

let postgres: ThrowawayPostgres;
let w: World;
let dir: string;
let blobs: BlobStore;
let told: string[];
let collector: BlobCollector;

beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(() => postgres.stop());
beforeEach(async () => {
  w = await world(postgres.url);
  dir = mkdtempSync(join(tmpdir(), 'berth-collection-'));
  blobs = new BlobStore(dir);
  told = [];
  collector = made(w.store);
});
afterEach(async () => {
  await w.store.close();
  rmSync(dir, { recursive: true, force: true });
});

const graceMs = 60_000;
const made = (store: ConstructorParameters<typeof BlobCollector>[0]['store']): BlobCollector =>
  new BlobCollector({
    store,
    blobs,
    clock: w.clock,
    dispatch: (host) => told.push(host),
    log: { info: () => undefined },
    graceMs,
  });

function disk(): Buffer {
  const bytes = randomBytes(4096);
  bytes.writeUInt16LE(0xaa55, 510);
  return bytes;
}
async function imported(name: string, bytes: Buffer, projectId = w.projectId): Promise<Digest> {
  const wake = { ledger: () => undefined, dispatch: () => undefined, scheduler: () => undefined };
  const deps = { store: w.store, blobs, ids, wake, config: { imageMaxBytes: 1e6 } as never };
  const { image } = await imageImport(deps, ctx, { projectId, name, kind: 'disk' }, Readable.from([bytes]));
  return image.digest;
}
/** Collects now, and again when the time of grace is over. */
async function collectTwice(): Promise<void> {
  await collector.collect();
  w.clock.advance(graceMs);
  await collector.collect();
}

describe('content in the API’s own store', () => {
  it('goes when the last project deleted its image, and not before; content of other images stays', async () => {
    const { id: other } = await w.store.projectCreate(ctx, { name: 'q' });
    const bytes = disk();
    const digest = await imported('a', bytes);
    const stays = await imported('b', disk());
    await imported('a', bytes, other);
    await w.store.imageDelete(ctx, w.projectId, 'a');
    await collectTwice();
    expect(await blobs.has(digest)).toBe(true);
    await w.store.imageDelete(ctx, other, 'a');
    await collectTwice();
    expect(await blobs.has(digest)).toBe(false);
    expect(await blobs.has(stays)).toBe(true);
  });

  it('stays for the time of grace, which begins anew when it was used again meanwhile', async () => {
    const bytes = disk();
    const digest = await imported('a', bytes);
    await w.store.imageDelete(ctx, w.projectId, 'a');
    await collector.collect();
    w.clock.advance(graceMs - 1);
    await collector.collect();
    expect(await blobs.has(digest)).toBe(true);
    await imported('a', bytes);
    await collector.collect();
    await w.store.imageDelete(ctx, w.projectId, 'a');
    w.clock.advance(1);
    await collector.collect();
    expect(await blobs.has(digest)).toBe(true);
    w.clock.advance(graceMs);
    await collector.collect();
    expect(await blobs.has(digest)).toBe(false);
  });

  it('is not lost to an import of the same that ends while the collection has read what is used', async () => {
    const bytes = disk();
    const digest = await imported('a', bytes);
    await w.store.imageDelete(ctx, w.projectId, 'a');
    let importing: Promise<Digest> | null = null;
    let reads = 0;
    const store = {
      ...w.store,
      imageBlobs: async () => {
        const used = await w.store.imageBlobs();
        // The reading that decides: after it the whole import happens.
        if (++reads === 3) await (importing = imported('again', bytes));
        return used;
      },
    };
    collector = made(store);
    await collectTwice();
    expect(importing).not.toBeNull();
    expect(await blobs.has(digest)).toBe(true);
    expect((await w.store.imageGet(w.projectId, 'again'))?.digest).toBe(digest);
  });

  it('stays while the database is away', async () => {
    const digest = await imported('a', disk());
    await w.store.imageDelete(ctx, w.projectId, 'a');
    await collector.collect();
    w.clock.advance(graceMs);
    const away = made({ ...w.store, imageBlobs: () => Promise.reject(new Error('away')) });
    await expect(away.collect()).rejects.toThrow('away');
    expect(await blobs.has(digest)).toBe(true);
  });
});

describe('a host', () => {
  it('is told to remove an image that no project has, and not told any more once one has it again', async () => {
    const host = await joinHost(w, 'alpha');
    const bytes = disk();
    const digest = await imported('a', bytes);
    await w.store.hostImageAdd(host.id, host.session, digest);
    const orders = async () => (await w.store.assignmentsRead(host.id))?.unusedImages;
    await collector.collect();
    expect([await orders(), told]).toEqual([[], []]);
    expect(await w.store.imageDelete(ctx, w.projectId, 'a')).toEqual([host.id]);
    await collector.collect();
    expect([await orders(), told]).toEqual([[digest], [host.id]]);
    await imported('b', bytes);
    expect(await orders()).toEqual([]);
    await w.store.imageDelete(ctx, w.projectId, 'b');
    await w.store.hostImageRemove(host.id, host.session, digest);
    expect(await orders()).toEqual([]);
  });
});
