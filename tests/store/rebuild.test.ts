import { BerthError } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { startPostgres } from '../support/postgres.js';
import type { TestHost, World } from './fixture.js';
import { create, ctx, digest, diskImage, joinHost, place, report, world } from './fixture.js';

let cluster: ThrowawayPostgres;
let w: World;
let alpha: TestHost;
beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(() => cluster.stop());
beforeEach(async () => {
  w = await world(cluster.url);
  alpha = await joinHost(w, 'alpha');
  const blobs = [{ digest: digest(20), sizeBytes: 100 }];
  for (const [name, virtualSizeMiB] of [
    ['other', 32],
    ['huge', 65],
  ] as const) {
    const content = { ...diskImage, digest: digest(20), virtualSizeMiB, blobs };
    await w.store.imageInsert(ctx, { projectId: w.projectId, name, content });
  }
});
afterEach(() => w?.store.close());

const vm = { isolation: 'vm', image: 'debian', memoryMiB: 64, rootDisk: { sizeMiB: 64 } } as const;
const get = async (name = 'a') => (await w.store.instanceGet(w.projectId, name)) ?? expect.fail(name);
const rebuild = (image?: string) =>
  w.store.instanceRebuild(ctx, {
    projectId: w.projectId,
    name: 'a',
    deadlineSeconds: 60,
    ...(image === undefined ? {} : { image }),
  });
const act = (verb: 'start' | 'stop' | 'suspend') =>
  w.store.instanceAct(ctx, { projectId: w.projectId, name: 'a', verb, deadlineSeconds: 60 });
const operation = (id: string) => w.store.operationGet(w.projectId, id as never);
const list = async () => (await w.store.assignmentsRead(alpha.id)) ?? expect.fail('no list');
const volumes = () => w.store.volumeList(w.projectId);
const thrown = async (work: Promise<unknown>): Promise<BerthError> => {
  const error = await work.then(
    () => null,
    (e: unknown) => e,
  );
  return error instanceof BerthError ? error : expect.fail(`no refusal: ${String(error)}`);
};

async function running() {
  const instance = await create(w, 'a', vm);
  const epoch = await place(w, instance, alpha);
  await report(w, alpha, { instance, epoch, phase: 'running' });
  return instance;
}

describe('a rebuild', () => {
  test('of what runs ends the epoch, and the next one has a new root disk of the other image on the same host', async () => {
    const instance = await running();
    const old = instance.status.rootVolumeId;
    const { operation: op, hosts, instance: asked } = await rebuild('other');
    expect(hosts).toEqual([alpha.id]);
    expect(op).toMatchObject({ kind: 'rebuild', state: 'running' });
    expect(asked).toMatchObject({ generation: 2, spec: { image: 'other' }, status: { rootVolumeId: old } });
    // The epoch that ends keeps what it has.
    expect((await list()).assignments).toMatchObject([
      { epoch: 1, wanted: 'stopped', rootVolume: { id: old }, image: { digest: diskImage.digest } },
    ]);
    await report(w, alpha, { instance, epoch: 1, phase: 'ended' });
    expect(await place(w, instance, alpha)).toBe(2);
    const now = await get();
    expect(now).toMatchObject({
      id: instance.id,
      uuid: instance.uuid,
      status: { nics: instance.status.nics },
    });
    expect(now.status.rootVolumeId).not.toBe(old);
    const { assignments, tombstones } = await list();
    expect(assignments).toMatchObject([
      {
        epoch: 2,
        wanted: 'running',
        rootVolume: { id: now.status.rootVolumeId, sizeMiB: 64 },
        image: { digest: digest(20) },
      },
    ]);
    expect(tombstones).toMatchObject([{ instanceId: instance.id, epoch: null, volumeId: old }]);
    expect(await operation(op.id)).toMatchObject({ state: 'running' });
    await report(w, alpha, { instance, epoch: 2, phase: 'running' });
    expect(await operation(op.id)).toMatchObject({ state: 'succeeded' });
  });

  test('of what is stopped is over at once; the old disk keeps its room until its host has removed it', async () => {
    const instance = await running();
    await act('stop');
    await report(w, alpha, { instance, epoch: 1, phase: 'ended' });
    const { operation: op, hosts } = await rebuild();
    expect(op).toMatchObject({ kind: 'rebuild', state: 'succeeded' });
    expect(hosts).toEqual([alpha.id]);
    const used = async () => (await w.store.hostGet('alpha'))?.used.diskMiB;
    expect(await used()).toBe(128);
    const [tombstone] = (await list()).tombstones;
    const dead = (await volumes()).find((v) => v.id === tombstone?.volumeId);
    expect(dead).toMatchObject({ owner: null, host: { name: 'alpha' }, deletingSince: expect.any(String) });
    expect(await w.store.tombstoneDone(alpha.id, alpha.session, tombstone?.id ?? '')).toMatchObject({
      changed: true,
    });
    expect(await used()).toBe(64);
    expect((await list()).tombstones).toEqual([]);
    expect(await volumes()).toMatchObject([{ id: (await get()).status.rootVolumeId, name: 'a.root' }]);
    expect((await get()).status.state).toBe('stopped');
  });

  test('of what no host ever had leaves nothing to remove', async () => {
    const instance = await create(w, 'a', { ...vm, desired: 'stopped' });
    const { operation: op, hosts } = await rebuild('other');
    expect([op.state, hosts]).toEqual(['succeeded', []]);
    expect(await get()).toMatchObject({
      spec: { image: 'other' },
      imageDigest: digest(20),
      status: { rootVolumeId: instance.status.rootVolumeId },
    });
  });

  test('that is asked for twice before the first is carried out makes one disk, of the image asked for last', async () => {
    const instance = await running();
    const first = await rebuild('other');
    await rebuild('debian');
    expect(await operation(first.operation.id)).toMatchObject({ state: 'superseded' });
    await report(w, alpha, { instance, epoch: 1, phase: 'ended' });
    await place(w, instance, alpha);
    expect((await list()).assignments).toMatchObject([{ image: { digest: diskImage.digest } }]);
    expect(await volumes()).toHaveLength(2);
  });

  test('that a stop overtakes is carried out by the next start', async () => {
    const instance = await running();
    await rebuild('other');
    await act('stop');
    await report(w, alpha, { instance, epoch: 1, phase: 'ended' });
    expect((await get()).status.state).toBe('stopped');
    await act('start');
    await place(w, instance, alpha);
    expect((await list()).assignments).toMatchObject([{ image: { digest: digest(20) } }]);
  });

  test('keeps both images from being deleted until it is carried out', async () => {
    const instance = await running();
    await rebuild('other');
    for (const name of ['debian', 'other'])
      expect((await thrown(w.store.imageDelete(ctx, w.projectId, name))).code).toBe('inUse');
    await report(w, alpha, { instance, epoch: 1, phase: 'ended' });
    await place(w, instance, alpha);
    await w.store.imageDelete(ctx, w.projectId, 'debian');
    // The old disk stands on it, so its host keeps it as long.
    expect((await list()).unusedImages).toEqual([]);
  });

  test('does not keep an instance from being deleted, before its old disk is removed too', async () => {
    const instance = await running();
    await act('stop');
    await report(w, alpha, { instance, epoch: 1, phase: 'ended' });
    await rebuild();
    await w.store.instanceDelete(ctx, { projectId: w.projectId, name: 'a', deadlineSeconds: 60 });
    const { tombstones } = await list();
    // Its epoch, the old disk and the new one.
    expect(tombstones).toHaveLength(3);
    for (const { id } of tombstones) {
      expect(await w.store.instanceById(instance.id)).not.toBeNull();
      await w.store.tombstoneDone(alpha.id, alpha.session, id);
    }
    expect(await w.store.instanceById(instance.id)).toBeNull();
    expect(await volumes()).toEqual([]);
  });

  test.each([
    ['an unknown image', 'nothing'],
    ['an image of the other kind', 'busybox'],
    ['an image that is larger than the root disk', 'huge'],
  ])('from %s is refused with its field', async (_what, image) => {
    await running();
    const error = await thrown(rebuild(image));
    expect(error.code).toBe('invalid');
    expect(error.options.errors?.[0]).toMatchObject({ path: '/image', remedy: expect.stringMatching(/./) });
    expect(await get()).toMatchObject({ generation: 1, spec: { image: 'debian' } });
  });

  test('is refused while snapshots are in the disk, and nothing is taken of a disk that goes or is not made yet', async () => {
    const instance = await running();
    const snapshot = { projectId: w.projectId, instance: 'a', name: 's', deadlineSeconds: 60 };
    await w.store.snapshotCreate(ctx, snapshot);
    expect((await thrown(rebuild())).options.remedy).toContain('delete its snapshots');
    const { operation: op } = await w.store.snapshotDelete(ctx, snapshot);
    await w.store.snapshotReport({
      hostId: alpha.id,
      session: alpha.session,
      orderId: op.id,
      outcome: { state: 'done', taken: null },
    });
    await rebuild();
    expect((await thrown(w.store.snapshotCreate(ctx, snapshot))).message).toContain('rebuilt');
    await act('stop');
    await report(w, alpha, { instance, epoch: 1, phase: 'ended' });
    w.clock.advance(1);
    await rebuild();
    expect((await thrown(w.store.snapshotCreate(ctx, snapshot))).message).toContain('no disk yet');
  });

  test('of what is being stopped, suspended or deleted is refused, and says what to do first', async () => {
    await running();
    await act('suspend');
    expect((await thrown(rebuild())).code).toBe('stateConflict');
    await act('stop');
    expect((await thrown(rebuild())).options.remedy).toContain('wait');
    await w.store.instanceDelete(ctx, { projectId: w.projectId, name: 'a', deadlineSeconds: 60 });
    expect((await thrown(rebuild())).code).toBe('stateConflict');
  });
});
