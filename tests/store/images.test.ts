import { BerthError } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Page, PageRequest } from '../../apps/api/src/store/store.js';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { startPostgres } from '../support/postgres.js';
import type { TestHost, World } from './fixture.js';
import { create, ctx, digest, joinHost, ociImage, openSession, place, report, world } from './fixture.js';

let cluster: ThrowawayPostgres;
let w: World;
let host: TestHost;
beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(() => cluster.stop());
beforeEach(async () => {
  w = await world(cluster.url);
  host = await joinHost(w, 'alpha');
});
afterEach(() => w?.store.close());

const refusal = (work: Promise<unknown>): Promise<BerthError | null> =>
  work.then(
    () => null,
    (e: unknown) => e as BerthError,
  );
const image = (name: string) => w.store.imageGet(w.projectId, name);
const holders = async (name: string) => (await image(name))?.hosts.map((h) => h.name);

describe('an image', () => {
  test('in use is not deleted, and the refusal names who uses it; afterwards it goes with its blobs', async () => {
    await create(w, 'user');
    const refused = await refusal(w.store.imageDelete(ctx, w.projectId, 'busybox'));
    expect(refused?.code).toBe('inUse');
    expect(refused?.message).toMatch(/user/);
    expect(await image('busybox')).not.toBeNull();
    await w.store.instanceDelete(ctx, { projectId: w.projectId, name: 'user', deadlineSeconds: 60 });
    expect(await w.store.imageBlobs()).toContain(digest(3));
    await w.store.imageDelete(ctx, w.projectId, 'busybox');
    expect(await image('busybox')).toBeNull();
    expect([...(await w.store.imageBlobs())]).toEqual([digest(9)]);
    expect((await refusal(w.store.imageDelete(ctx, w.projectId, 'busybox')))?.code).toBe('notFound');
  });

  test('and a create of it at once end with both or with neither', async () => {
    for (let n = 0; n < 10; n += 1) {
      const name = `base-${n}`;
      await w.store.imageInsert(ctx, { projectId: w.projectId, name, content: ociImage });
      const [made] = await Promise.all([
        create(w, `i${n}`, { image: name }).then(
          () => true,
          () => false,
        ),
        refusal(w.store.imageDelete(ctx, w.projectId, name)),
      ]);
      expect((await image(name)) !== null).toBe(made);
    }
  });

  test('is held by the hosts that say so: the whole inventory, one more, one less', async () => {
    const beta = await joinHost(w, 'beta');
    expect(await w.store.hostImagesSet(host.id, host.session, [digest(1), digest(9)])).toBe(true);
    expect(await w.store.hostImageAdd(beta.id, beta.session, digest(1))).toBe(true);
    expect(await w.store.hostImageAdd(beta.id, beta.session, digest(1))).toBe(true);
    expect([await holders('busybox'), await holders('debian')]).toEqual([['alpha', 'beta'], ['alpha']]);
    expect(await w.store.hostImageRemove(host.id, host.session, digest(9))).toBe(true);
    expect(await w.store.hostImageRemove(host.id, host.session, digest(9))).toBe(false);
    expect(await w.store.hostImagesSet(host.id, host.session, [])).toBe(true);
    expect([await holders('busybox'), await holders('debian')]).toEqual([['beta'], []]);
  });

  test('is not held by the word of a session that is over', async () => {
    await w.store.hostImagesSet(host.id, host.session, [digest(1)]);
    await openSession(w.store, host.id, 'alpha');
    expect(await w.store.hostImagesSet(host.id, host.session, [])).toBe(false);
    expect(await w.store.hostImageAdd(host.id, host.session, digest(9))).toBe(false);
    expect(await w.store.hostImageRemove(host.id, host.session, digest(1))).toBe(false);
    expect([await holders('busybox'), await holders('debian')]).toEqual([['alpha'], []]);
  });

  test('is pushed only to a host that has an assignment for it, until that has ended', async () => {
    expect(await w.store.imageBlobWanted(host.id, digest(3))).toBe(false);
    const instance = await create(w, 'a');
    const epoch = await place(w, instance, host);
    expect(await w.store.imageBlobWanted(host.id, digest(3))).toBe(true);
    expect(await w.store.imageBlobWanted(host.id, digest(9))).toBe(false);
    await report(w, host, { instance, epoch, phase: 'ended' });
    expect(await w.store.imageBlobWanted(host.id, digest(3))).toBe(false);
  });
});

describe('a list', () => {
  const lists: [string, (page: PageRequest) => Promise<Page<{ id: string }>>][] = [
    ['images', (page) => w.store.imageList(w.projectId, page)],
    ['instances', (page) => w.store.instanceList({ projectId: w.projectId, ...page })],
    ['operations', (page) => w.store.operationList({ projectId: w.projectId, ...page })],
  ];

  test.each(lists)(
    'of %s comes in pages: each row once, also when rows come between them',
    async (_, list) => {
      const add = async (name: string): Promise<void> => {
        await w.store.imageInsert(ctx, { projectId: w.projectId, name: `x-${name}`, content: ociImage });
        await create(w, name, { desired: 'stopped' });
        w.clock.advance(1000);
      };
      for (const name of ['a', 'b', 'c', 'd', 'e']) await add(name);
      const all = (await list({})).items.map((i) => i.id);
      expect(all.length).toBeGreaterThanOrEqual(5);
      const seen: string[] = [];
      let cursor: string | null = null;
      do {
        const page: Page<{ id: string }> = await list({ limit: 2, ...(cursor === null ? {} : { cursor }) });
        expect(page.items.length).toBeLessThanOrEqual(2);
        seen.push(...page.items.map((i) => i.id));
        cursor = page.nextCursor;
        if (seen.length === 2) await add('aa');
      } while (cursor !== null);
      expect(new Set(seen).size).toBe(seen.length);
      expect(seen.filter((id) => all.includes(id))).toEqual(all);
    },
  );

  test.each(lists)('of %s refuses a cursor that this API did not give out', async (_, list) => {
    for (const cursor of ['', 'x', Buffer.from('["a","b","c","d"]').toString('base64url')])
      expect((await refusal(list({ cursor })))?.code).toBe('invalid');
  });
});
