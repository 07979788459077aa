import { InstanceSpec, type VolumeId } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { reconcileContext } from '../../apps/api/src/store/instance-delete.js';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { startPostgres } from '../support/postgres.js';
import type { TestHost, World } from './fixture.js';
import { body, create, ctx, joinHost, place, report, refusal, world } from './fixture.js';

let cluster: ThrowawayPostgres;
let w: World;
let alpha: TestHost;
beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(() => cluster.stop());
beforeEach(async () => {
  w = await world(cluster.url);
  alpha = await joinHost(w, 'alpha', { cpuMillis: 4000, memoryMiB: 4096, diskMiB: 1000 });
});
afterEach(() => w?.store.close());

const vm = { isolation: 'vm', image: 'debian', memoryMiB: 64, rootDisk: { sizeMiB: 64 } } as const;
const make = (name: string, sizeMiB = 100) =>
  w.store.volumeCreate(ctx, {
    projectId: w.projectId,
    body: { name, sizeMiB, format: 'qcow2', pool: 'default', limits: {} },
  });
const volume = async (name: string) => (await w.store.volumeGet(w.projectId, name)) ?? expect.fail(name);
/** Changes the volumes that an instance asks for. */
const mount = async (name: string, ...volumes: string[]) => {
  const spec = (await w.store.instanceGet(w.projectId, name))?.spec;
  return w.store.instanceUpdate(ctx, {
    projectId: w.projectId,
    name,
    spec: InstanceSpec.parse({ ...spec, volumes: volumes.map((v) => ({ name: v })) }),
    deadlineSeconds: 60,
  });
};
const operation = (id: string) => w.store.operationGet(w.projectId, id as never);
const listed = async (host = alpha) => (await w.store.assignmentsRead(host.id))?.assignments ?? [];

/** Runs under epoch 1, brought to its first generation. */
async function running(name: string, volumes: string[] = []) {
  const instance = await create(w, name, { ...vm, volumes: volumes.map((v) => ({ name: v })) });
  const epoch = await place(w, instance, alpha);
  await says(instance, { revision: 1, volumes: [] }, epoch);
  return { instance, epoch };
}

const says = (
  instance: { id: never } | { id: string },
  seen: { revision: number | null; volumes: { id: VolumeId; sizeMiB: number }[] | null },
  epoch = 1,
) => report(w, alpha, { instance: instance as never, epoch, phase: 'running', ...seen });

describe('a volume that is attached while its instance runs', () => {
  test('is claimed at once, placed beside it, and listed; the operation ends when the host has it', async () => {
    const { instance } = await running('a');
    const { id } = await make('data');
    const { operation: op, hosts } = await mount('a', 'data');
    expect(hosts).toEqual([alpha.id]);
    expect(op).toMatchObject({ kind: 'update', state: 'running' });
    expect(await volume('data')).toMatchObject({ owner: { instance: 'a' }, host: { name: 'alpha' } });
    expect((await listed())[0]).toMatchObject({
      generation: 2,
      volumes: [{ id, format: 'qcow2', sizeMiB: 100, readOnly: false, limits: {} }],
    });
    await says(instance, { revision: 1, volumes: [] });
    expect(await operation(op.id)).toMatchObject({ state: 'running' });
    await says(instance, { revision: 2, volumes: [{ id, sizeMiB: 100 }] });
    expect(await operation(op.id)).toMatchObject({ state: 'succeeded' });
    expect((await w.store.instanceGet(w.projectId, 'a'))?.status).toMatchObject({
      appliedGeneration: 2,
      volumes: [{ id, name: 'data', attached: true, serial: id.replaceAll('-', '').slice(0, 20) }],
    });
    expect(await volume('data')).toMatchObject({ actualSizeMiB: 100 });
  });

  test('stays its own after the detach, until the host says that it has let go', async () => {
    const { instance } = await running('a');
    const { id } = await make('data');
    await mount('a', 'data');
    await says(instance, { revision: 2, volumes: [{ id, sizeMiB: 100 }] });
    await mount('a');
    await running('b');
    expect(await refusal(mount('b', 'data'))).toBe('inUse');
    // Neither what was said before the host heard of it, nor silence about its disks, lets go of it.
    await says(instance, { revision: 2, volumes: [] });
    await says(instance, { revision: null, volumes: null });
    await says(instance, { revision: 3, volumes: [{ id, sizeMiB: 100 }] });
    expect(await volume('data')).toMatchObject({ owner: { instance: 'a' } });
    expect(await refusal(w.store.volumeDelete(ctx, { projectId: w.projectId, ref: 'data' }))).toBe('inUse');
    await says(instance, { revision: 3, volumes: [] });
    expect(await volume('data')).toMatchObject({ owner: null, host: { name: 'alpha' } });
    await mount('b', 'data');
    expect(await volume('data')).toMatchObject({ owner: { instance: 'b' } });
  });

  test('is let go when the placement ends, whoever ends it', async () => {
    const { instance } = await running('a');
    const { id } = await make('data');
    await mount('a', 'data');
    await says(instance, { revision: 2, volumes: [{ id, sizeMiB: 100 }] });
    await mount('a');
    await w.store.fenceRecord(reconcileContext, {
      hostId: alpha.id,
      bootId: 'boot-1',
      method: 'manual',
      evidence: {},
    });
    expect(await volume('data')).toMatchObject({ owner: null });
  });

  test('outlives its instance', async () => {
    await make('data');
    await create(w, 'a', { ...vm, desired: 'stopped', volumes: [{ name: 'data' }] });
    await w.store.instanceDelete(ctx, { projectId: w.projectId, name: 'a', deadlineSeconds: 60 });
    expect(await volume('data')).toMatchObject({ owner: null });
  });

  test('has one instance only, however many ask for it at once', async () => {
    await make('data');
    const names = ['a', 'b', 'c', 'd', 'e', 'f'];
    for (const name of names) await create(w, name, { ...vm, desired: 'stopped' });
    const asked = await Promise.all(names.map((name) => refusal(mount(name, 'data'))));
    expect(asked.filter((code) => code === 'inUse')).toHaveLength(5);
  });
});

describe('room', () => {
  test('is booked with the first placement, with the claim of what runs, and with growth', async () => {
    await make('early', 300);
    await make('late', 400);
    const used = async () => (await w.store.hostGet('alpha'))?.used.diskMiB;
    await running('a', ['early']);
    expect(await used()).toBe(364);
    await mount('a', 'early', 'late');
    expect(await used()).toBe(764);
    const grow = (sizeMiB: number) =>
      w.store.volumeUpdate(ctx, { projectId: w.projectId, ref: 'late', update: { sizeMiB } });
    expect(await refusal(grow(637))).toBe('noRoom');
    expect((await grow(636)).hosts).toEqual([alpha.id]);
    expect(await used()).toBe(1000);
    await make('more', 1);
    expect(await refusal(mount('a', 'early', 'late', 'more'))).toBe('noRoom');
    expect(await volume('more')).toMatchObject({ owner: null, host: null });
  });

  test('a root disk grows where it is, and never shrinks', async () => {
    await running('a');
    const sized = (sizeMiB: number) =>
      w.store.instanceUpdate(ctx, {
        projectId: w.projectId,
        name: 'a',
        spec: InstanceSpec.parse({ ...vm, rootDisk: { sizeMiB } }),
        deadlineSeconds: 60,
      });
    await sized(128);
    expect((await listed())[0]).toMatchObject({ rootVolume: { sizeMiB: 128 } });
    expect(await refusal(sized(127))).toBe('invalid');
    expect(await refusal(sized(1001))).toBe('noRoom');
  });
});

describe('what cannot be', () => {
  test.each([
    ['a volume that is not there', ['nothing'], 'invalid'],
    ['the same one twice', ['data', 'data'], 'parse'],
  ])('%s', async (_what, names, code) => {
    await make('data');
    await create(w, 'a', { ...vm, desired: 'stopped' });
    const work = async () => mount('a', ...names);
    expect(code === 'parse' ? await work().catch(() => 'parse') : await refusal(work())).toBe(code);
  });

  test('volumes of two hosts for one instance', async () => {
    const beta = await joinHost(w, 'beta');
    await make('here');
    await make('there');
    await running('a', ['here']);
    const other = await create(w, 'b', { ...vm, volumes: [{ name: 'there' }] });
    await place(w, other, beta);
    await w.store.instanceDelete(ctx, { projectId: w.projectId, name: 'b', deadlineSeconds: 60 });
    await report(w, beta, { instance: other, epoch: 1, phase: 'ended' });
    const stones = (await w.store.assignmentsRead(beta.id))?.tombstones ?? [];
    for (const { id } of stones) await w.store.tombstoneDone(beta.id, beta.session, id);
    expect(await volume('there')).toMatchObject({ owner: null, host: { name: 'beta' } });
    expect(await refusal(mount('a', 'here', 'there'))).toBe('conflict');
    const both = body('c', { ...vm, volumes: [{ name: 'here' }, { name: 'there' }] });
    await mount('a');
    const asked = w.store.instanceCreate(ctx, { projectId: w.projectId, body: both, deadlineSeconds: 60 });
    expect(await refusal(asked)).toBe('inUse');
  });

  test('a start goes only where its volumes are', async () => {
    const beta = await joinHost(w, 'beta');
    await make('data');
    const first = await create(w, 'a', { ...vm, volumes: [{ name: 'data' }] });
    await place(w, first, alpha);
    await w.store.instanceDelete(ctx, { projectId: w.projectId, name: 'a', deadlineSeconds: 60 });
    await report(w, alpha, { instance: first, epoch: 1, phase: 'ended' });
    for (const { id } of (await w.store.assignmentsRead(alpha.id))?.tombstones ?? [])
      await w.store.tombstoneDone(alpha.id, alpha.session, id);
    const next = await create(w, 'b', { ...vm, volumes: [{ name: 'data' }] });
    expect(await w.store.pendingInstance(next.id)).toMatchObject({ volumeHostId: alpha.id });
    await expect(place(w, next, beta)).rejects.toThrow('stale');
    await place(w, next, alpha);
  });
});

describe('a deletion', () => {
  const remove = (ref: string) => w.store.volumeDelete(ctx, { projectId: w.projectId, ref });

  test('of what is on no host is done at once', async () => {
    await make('data');
    expect(await remove('data')).toEqual({ volume: null, hosts: [] });
    expect(await w.store.volumeGet(w.projectId, 'data')).toBeNull();
  });

  test('of what a host has is an order to it, and done when it says so; nobody gets it meanwhile', async () => {
    const { instance } = await running('a');
    const { id } = await make('data');
    await mount('a', 'data');
    await mount('a');
    await says(instance, { revision: 3, volumes: [] });
    const first = await remove('data');
    expect(first).toMatchObject({ volume: { deletingSince: expect.any(String) }, hosts: [alpha.id] });
    expect(await remove('data')).toMatchObject({ volume: first.volume });
    expect(await refusal(mount('a', 'data'))).toBe('stateConflict');
    const stones = (await w.store.assignmentsRead(alpha.id))?.tombstones ?? [];
    expect(stones).toMatchObject([{ instanceId: null, epoch: null, volumeId: id }]);
    await w.store.tombstoneDone(alpha.id, alpha.session, stones[0]?.id ?? '');
    expect(await w.store.volumeGet(w.projectId, 'data')).toBeNull();
    expect((await w.store.assignmentsRead(alpha.id))?.tombstones).toEqual([]);
  });

  test('of a root disk is refused', async () => {
    await create(w, 'a', { ...vm, desired: 'stopped' });
    expect(await refusal(remove('a.root'))).toBe('conflict');
  });
});
