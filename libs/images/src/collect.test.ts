import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Digest } from '@berth/model';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { streamOf } from './archive-fixture.js';
import { BlobStore } from './blob-store.js';

let dir: string;
let store: BlobStore;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-collect-'));
  store = new BlobStore(dir);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const put = async (text: string): Promise<Digest> =>
  (await store.put(streamOf(Buffer.from(text)), { maxBytes: 1000 })).digest;
const using =
  (...digests: Digest[]) =>
  () =>
    Promise.resolve(new Set(digests));
const held = async (): Promise<Digest[]> => (await store.list()).map((blob) => blob.digest).sort();

describe('a collection of blobs', () => {
  it('removes what nobody uses, of those that were named, and leaves nothing behind', async () => {
    const [a, b, c] = [await put('a'), await put('b'), await put('c')];
    expect((await store.collect(using(a), [a, b])).map((blob) => blob.digest)).toEqual([b]);
    expect(await held()).toEqual([a, c].sort());
    expect((await store.collect(using(a))).map((blob) => blob.digest)).toEqual([c]);
    expect(readdirSync(join(dir, 'staging'))).toEqual([]);
  });

  it('leaves what is published while it asks what is used, new or here already', async () => {
    const a = await put('a');
    let b: Digest | undefined;
    const used = async (): Promise<Set<Digest>> => {
      const record = new Set<Digest>();
      b = await put('b');
      await put('a');
      return record;
    };
    expect(await store.collect(used)).toEqual([]);
    expect(await held()).toEqual([a, b].sort());
  });

  it('leaves what is relied on while it asks', async () => {
    const a = await put('a');
    const used = (): Promise<Set<Digest>> => {
      store.rely([a]);
      return Promise.resolve(new Set());
    };
    expect(await store.collect(used)).toEqual([]);
    expect(await held()).toEqual([a]);
  });

  it('leaves what was published under a hold, until that is released', async () => {
    const old = await put('old');
    const hold = store.hold();
    const a = await put('a');
    expect((await store.collect(using())).map((blob) => blob.digest)).toEqual([old]);
    expect(await held()).toEqual([a]);
    hold.release();
    expect(await store.collect(using())).toHaveLength(1);
  });

  it('leaves what was held when it began, though it was released before it looked', async () => {
    const hold = store.hold();
    const a = await put('a');
    // Its row is written while the collection has read the others already.
    const used = (): Promise<Set<Digest>> => {
      const before = new Set<Digest>();
      hold.release();
      return Promise.resolve(before);
    };
    expect(await store.collect(used)).toEqual([]);
    expect(await held()).toEqual([a]);
  });

  it('removes nothing when it cannot be told what is used', async () => {
    const a = await put('a');
    await expect(store.collect(() => Promise.reject(new Error('the database is away')))).rejects.toThrow(
      'away',
    );
    expect(await held()).toEqual([a]);
    expect(await store.collect(using())).toHaveLength(1);
  });

  it('never parts an import from its blob, whatever runs beside it', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.array(fc.constantFrom('x', 'y'), { minLength: 1, maxLength: 4 }),
        async (s, texts) => {
          const rows = new Set<Digest>();
          const step = (label: string): Promise<void> => s.schedule(Promise.resolve(), label);
          const one = async (text: string): Promise<void> => {
            const hold = store.hold();
            await step('began');
            const digest = await put(text);
            await step('published');
            rows.add(digest);
            hold.release();
          };
          const collecting = async (): Promise<void> => {
            await step('collects');
            await store.collect(async () => {
              const read = new Set(rows);
              await step('read');
              return read;
            });
          };
          const all = Promise.all([...texts.map(one), collecting(), collecting()]);
          await s.waitFor(all);
          for (const digest of rows) expect(existsSync(store.path(digest))).toBe(true);
          for (const { digest } of await store.list()) await store.remove(digest);
        },
      ),
      { numRuns: 40 },
    );
  });
});
