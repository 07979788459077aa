import { type BerthError, InstanceSpec, VolumeCreate, type SnapshotTaken } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { SnapshotReport } from '../../apps/api/src/store/store.js';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { startPostgres } from '../support/postgres.js';
import type { TestHost, World } from './fixture.js';
import {
  capabilities,
  create,
  ctx,
  diskImage,
  digest,
  joinHost,
  openSession,
  place,
  report,
  refusal,
  world,
} from './fixture.js';

let cluster: ThrowawayPostgres;
let w: World;
let alpha: TestHost;
beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(() => cluster.stop());
beforeEach(async () => {
  w = await world(cluster.url);
  alpha = await joinHost(w, 'alpha', room);
  await able(['copies']);
});
afterEach(() => w?.store.close());

const room = { cpuMillis: 4000, memoryMiB: 4096, diskMiB: 1000 };
const able = (facets: string[]) =>
  w.store.hostCapabilitiesSet(alpha.id, alpha.session, { ...capabilities, facets }, room);
const vm = { isolation: 'vm', image: 'debian', memoryMiB: 64, rootDisk: { sizeMiB: 64 } } as const;
const taken: SnapshotTaken = {
  consistency: 'application',
  indications: ['the guest agent froze 1 file system and thawed 1 file system afterwards'],
  takenAt: '2026-01-01T00:00:00.000Z',
  heldMiB: 10,
};

async function running(name: string, volumes: string[] = []) {
  const instance = await create(w, name, { ...vm, volumes: volumes.map((v) => ({ name: v })) });
  const epoch = await place(w, instance, alpha);
  await report(w, alpha, { instance, epoch, phase: 'running', revision: 1, volumes: [] });
  return { instance, epoch };
}
async function stopped(name: string, volumes: string[] = []) {
  const { instance, epoch } = await running(name, volumes);
  await act(name, 'stop');
  const exit = { reason: 'stopped', at: '2026-01-01T00:00:00.000Z' } as const;
  await report(w, alpha, { instance, epoch, phase: 'ended', power: 'off', exit, revision: 2, volumes: [] });
  return { instance, epoch };
}
const act = (name: string, verb: 'start' | 'stop' | 'restart') =>
  w.store.instanceAct(ctx, { projectId: w.projectId, name, verb, deadlineSeconds: 60 });
const data = (name: string, format: 'qcow2' | 'raw' = 'qcow2') =>
  w.store.volumeCreate(ctx, {
    projectId: w.projectId,
    body: { name, sizeMiB: 100, format, pool: 'default', limits: {} },
  });
const at = (instance: string, name: string) => ({
  projectId: w.projectId,
  instance,
  name,
  deadlineSeconds: 60,
});
const take = (instance: string, name: string) => w.store.snapshotCreate(ctx, at(instance, name));
const revert = (instance: string, name: string) => w.store.snapshotRevert(ctx, at(instance, name));
const drop = (instance: string, name: string) => w.store.snapshotDelete(ctx, at(instance, name));
const get = (instance: string, name: string) => w.store.snapshotGet(w.projectId, instance, name);
const orders = async () => (await w.store.assignmentsRead(alpha.id))?.snapshots ?? [];
const says = (orderId: string, outcome: SnapshotReport['outcome'], session = alpha.session) =>
  w.store.snapshotReport({ hostId: alpha.id, session, orderId: orderId as never, outcome });
const usedDisk = async () => (await w.store.hostGet('alpha'))?.used.diskMiB;
const operation = (id: string) => w.store.operationGet(w.projectId, id as never);

/** Of a machine, and its host said that it is taken. */
async function ready(instance: string, name: string): Promise<void> {
  const { operation: op } = await take(instance, name);
  await says(op.id, { state: 'done', taken });
}

describe('a snapshot', () => {
  test('is asked of the host with all disks, the root disk first, until the host says what it took', async () => {
    const volume = await data('data');
    const { instance } = await running('a', ['data']);
    const { operation: op, hosts } = await take('a', 'one');
    expect(hosts).toEqual([alpha.id]);
    const [order] = await orders();
    expect(order).toMatchObject({ id: op.id, state: 'creating', instanceId: instance.id });
    expect(order?.volumes).toHaveLength(2);
    expect(order?.volumes[1]).toBe(volume.id);
    expect(await get('a', 'one')).toMatchObject({
      state: 'creating',
      actor: ctx.actor,
      consistency: null,
      bookedMiB: 164,
    });
    expect(await says(op.id, { state: 'done', taken })).toEqual({ changed: true, freed: true });
    expect(await orders()).toEqual([]);
    expect(await get('a', 'one')).toMatchObject({
      state: 'ready',
      consistency: 'application',
      indications: taken.indications,
      bookedMiB: 10,
      operationId: null,
      disks: [
        { root: true, sizeMiB: 64 },
        { root: false, volume: 'data', sizeMiB: 100 },
      ],
    });
    expect(await operation(op.id)).toMatchObject({ state: 'succeeded', target: { name: 'a' } });
    // What is repeated, comes from an older session, or was never asked changes nothing.
    expect((await says(op.id, { state: 'done', taken })).changed).toBe(false);
  });

  test('books the whole of its disks, then what it can hold, and gives it back', async () => {
    await running('a');
    const before = (await usedDisk()) ?? 0;
    const { operation: op } = await take('a', 'one');
    expect(await usedDisk()).toBe(before + 64);
    await says(op.id, { state: 'done', taken });
    expect(await usedDisk()).toBe(before + 10);
    const gone = await drop('a', 'one');
    expect(await usedDisk()).toBe(before + 10);
    await says(gone.operation.id, { state: 'done', taken: null });
    expect(await usedDisk()).toBe(before);
    expect(await get('a', 'one')).toBeNull();
    await data('large');
    for (let n = 0; (await refusal(take('a', `n${n}`))) !== 'noRoom'; n += 1) expect(n).toBeLessThan(20);
    expect(await usedDisk()).toBeGreaterThan(1000 - 64);
  });

  describe('with memory', () => {
    const machine = {
      driver: 'libvirt',
      accel: 'tcg',
      vcpus: 1,
      bootMiB: 64,
      plugMiB: 0,
      requestedMiB: 0,
      cpuModel: null,
      firmware: 'bios',
      tpm: false,
      hugePages: null,
      vsock: false,
      numaNodes: 1,
      watchdog: null,
      usbTablet: true,
      displays: 1,
      cdroms: [] as never[],
      mostVcpus: null,
    } as const;
    const whole = (instance: string, name = 'one') =>
      w.store.snapshotCreate(ctx, { ...at(instance, name), memory: true });
    const nicsOf = async (instance: string) =>
      (await w.store.instanceGet(w.projectId, instance))?.status.nics.map(({ id, mac }) => ({ id, mac })) ??
      [];
    const saysTaken = async (op: string, nics: { id: never; mac: string }[]) =>
      says(op, {
        state: 'done',
        taken: {
          ...taken,
          consistency: 'exact',
          heldMiB: 30,
          memory: { sizeMiB: 20, stoodStillMs: 80, machine: { ...machine, nics } },
        },
      });

    test('is asked of what runs, with room for all it may have, and what it takes is told', async () => {
      await running('a');
      const before = (await usedDisk()) ?? 0;
      const { operation: op } = await whole('a');
      expect(await orders()).toMatchObject([{ memory: true }]);
      expect(await usedDisk()).toBe(before + 64 + 64);
      expect(await get('a', 'one')).toMatchObject({ memory: true, memoryMiB: null, stoodStillMs: null });
      await saysTaken(op.id, []);
      expect(await usedDisk()).toBe(before + 30);
      expect(await get('a', 'one')).toMatchObject({
        consistency: 'exact',
        memoryMiB: 20,
        stoodStillMs: 80,
        bookedMiB: 30,
      });
      await act('a', 'stop');
      expect(await refusal(whole('a', 'two'))).toBe('stateConflict');
    });

    test('is gone back to by a machine that is the same, and starts it', async () => {
      const { instance, epoch } = await running('a');
      const { operation: op } = await whole('a');
      await saysTaken(op.id, (await nicsOf('a')) as never);
      await act('a', 'stop');
      const exit = { reason: 'stopped', at: '2026-01-01T00:00:00.000Z' } as const;
      await report(w, alpha, {
        instance,
        epoch,
        phase: 'ended',
        power: 'off',
        exit,
        revision: 2,
        volumes: [],
      });
      const spec = (await w.store.instanceGet(w.projectId, 'a'))?.spec;
      if (spec === undefined) throw new Error('it is gone');
      const change = (more: object) =>
        w.store.instanceUpdate(ctx, {
          projectId: w.projectId,
          name: 'a',
          spec: InstanceSpec.parse({ ...spec, ...more }),
          deadlineSeconds: 60,
        });
      await change({ vcpus: 2, memoryMiB: 128, watchdog: { action: 'reset' } });
      await expect(revert('a', 'one')).rejects.toMatchObject({
        code: 'conflict',
        options: {
          errors: [
            { path: '/spec/vcpus', remedy: 'set it to 1' },
            { path: '/spec/memoryMiB', remedy: 'set it to 64' },
            { path: '/spec/watchdog/action', remedy: 'leave it out' },
          ],
        },
      });
      expect(await orders()).toEqual([]);
      await change({});
      const { operation: back } = await revert('a', 'one');
      expect(await orders()).toMatchObject([{ state: 'reverting', memory: true }]);
      expect(await says(back.id, { state: 'done', taken: null })).toEqual({ changed: true, freed: true });
      expect((await w.store.instanceGet(w.projectId, 'a'))?.spec.desired).toBe('running');
      expect((await w.store.pendingInstances(10)).map(({ name }) => name)).toEqual(['a']);
    });
  });

  test('that fails leaves nothing but its operation, and its name', async () => {
    await running('a');
    const before = await usedDisk();
    const { operation: op } = await take('a', 'one');
    await says(op.id, { state: 'retrying', code: 'hostFault', message: 'QEMU is busy' });
    expect(await operation(op.id)).toMatchObject({ state: 'running', steps: [{ message: 'QEMU is busy' }] });
    await says(op.id, {
      state: 'failed',
      code: 'noSpace',
      message: 'the pool is full',
      remedy: 'Make room.',
    });
    expect(await operation(op.id)).toMatchObject({
      state: 'failed',
      error: { code: 'noSpace', message: 'the pool is full', remedy: 'Make room.' },
    });
    expect([await get('a', 'one'), await usedDisk(), await orders()]).toEqual([null, before, []]);
    await ready('a', 'one');
  });

  test('is what it is although its deadline has failed its operation', async () => {
    await running('a');
    const { operation: op } = await take('a', 'one');
    w.clock.advance(61_000);
    await w.store.operationsExpire();
    expect(await operation(op.id)).toMatchObject({ state: 'failed' });
    expect(await orders()).toHaveLength(1);
    await says(op.id, { state: 'done', taken });
    expect(await get('a', 'one')).toMatchObject({ state: 'ready' });
  });

  test('is told only by the newest session of its host', async () => {
    await running('a');
    const { operation: op } = await take('a', 'one');
    await openSession(w.store, alpha.id, 'alpha');
    expect(await says(op.id, { state: 'done', taken })).toEqual({ changed: false, freed: false });
    expect(await get('a', 'one')).toMatchObject({ state: 'creating' });
  });

  test('is refused where there is nothing to take, of a raw disk, twice, and of what is reverted', async () => {
    await create(w, 'fresh', { ...vm, desired: 'stopped' });
    expect(await refusal(take('fresh', 'one'))).toBe('stateConflict');
    await data('plain', 'raw');
    await running('r', ['plain']);
    expect(await refusal(take('r', 'one'))).toBe('unsupported');
    await stopped('a');
    await ready('a', 'one');
    expect(await refusal(take('a', 'one'))).toBe('nameTaken');
    expect(await refusal(take('nobody', 'one'))).toBe('notFound');
    await revert('a', 'one');
    expect(await refusal(take('a', 'two'))).toBe('stateConflict');
    expect(await refusal(drop('a', 'one'))).toBe('stateConflict');
  });

  test('is deleted while it is being taken, and a delete joins the one under way', async () => {
    await running('a');
    const begun = await take('a', 'one');
    const { operation: op } = await drop('a', 'one');
    expect(await operation(begun.operation.id)).toMatchObject({ state: 'superseded' });
    expect(await orders()).toMatchObject([{ id: op.id, state: 'deleting' }]);
    expect((await says(begun.operation.id, { state: 'done', taken })).changed).toBe(false);
    expect((await drop('a', 'one')).operation.id).toBe(op.id);
    // Its host goes on until it is done.
    expect((await says(op.id, { state: 'failed', code: 'hostFault', message: 'no' })).changed).toBe(false);
    await says(op.id, { state: 'done', taken: null });
    expect(await get('a', 'one')).toBeNull();
  });
});

describe('a revert', () => {
  test('is asked of what is stopped, and nothing starts until its host has done it', async () => {
    await stopped('a');
    await ready('a', 'one');
    const { operation: op } = await revert('a', 'one');
    expect(await orders()).toMatchObject([{ id: op.id, state: 'reverting' }]);
    for (const verb of ['start', 'restart'] as const)
      expect(await refusal(act('a', verb))).toBe('stateConflict');
    expect(await refusal(revert('a', 'one'))).toBe('stateConflict');
    // A deadline fails the operation, and keeps the disks from nobody's hands.
    w.clock.advance(61_000);
    await w.store.operationsExpire();
    expect(await refusal(act('a', 'start'))).toBe('stateConflict');
    await says(op.id, { state: 'done', taken: null });
    expect(await get('a', 'one')).toMatchObject({
      state: 'ready',
      consistency: 'application',
      bookedMiB: 10,
    });
    await act('a', 'start');
  });

  test('is refused of what runs, waits to run, or has a snapshot under way', async () => {
    await running('a');
    await ready('a', 'one');
    expect(await refusal(revert('a', 'one'))).toBe('stateConflict');
    await stopped('b');
    await ready('b', 'one');
    await take('b', 'two');
    expect(await refusal(revert('b', 'one'))).toBe('stateConflict');
    expect(await refusal(revert('b', 'two'))).toBe('stateConflict');
    await stopped('c');
    await ready('c', 'one');
    await act('c', 'start');
    expect(await refusal(revert('c', 'one'))).toBe('stateConflict');
  });
});

describe('the disks of a snapshot', () => {
  test('stay together: a volume is not detached, and no instance deleted, while they would be torn', async () => {
    await data('data');
    const { instance } = await running('a', ['data']);
    await ready('a', 'one');
    const spec = (await w.store.instanceGet(w.projectId, 'a'))?.spec;
    const detach = () =>
      w.store.instanceUpdate(ctx, {
        projectId: w.projectId,
        name: 'a',
        spec: InstanceSpec.parse({ ...spec, volumes: [] }),
        deadlineSeconds: 60,
      });
    const remove = () =>
      w.store.instanceDelete(ctx, { projectId: w.projectId, name: 'a', deadlineSeconds: 60 });
    expect(await refusal(detach())).toBe('conflict');
    expect(await refusal(remove())).toBe('conflict');
    const { operation: op } = await drop('a', 'one');
    await says(op.id, { state: 'done', taken: null });
    await detach();
    await remove();
    await report(w, alpha, { instance, epoch: 1, phase: 'ended', power: 'off', revision: 9, volumes: [] });
  });

  test('go with their instance where they are its own, whatever was under way', async () => {
    const { instance } = await running('a');
    await ready('a', 'one');
    const begun = await take('a', 'two');
    await w.store.instanceDelete(ctx, { projectId: w.projectId, name: 'a', deadlineSeconds: 60 });
    expect(await operation(begun.operation.id)).toMatchObject({ state: 'superseded' });
    expect(await orders()).toEqual([]);
    await report(w, alpha, { instance, epoch: 1, phase: 'ended', power: 'off' });
    for (const { id } of (await w.store.assignmentsRead(alpha.id))?.tombstones ?? [])
      await w.store.tombstoneDone(alpha.id, alpha.session, id);
    expect(await w.store.instanceGet(w.projectId, 'a')).toBeNull();
    expect(await usedDisk()).toBe(0);
  });
});

describe('a disk that begins as a snapshot', () => {
  const from = (snapshot: string, instance = 'a') => ({
    ...vm,
    rootDisk: { sizeMiB: 64, source: { instance, snapshot } },
  });
  const copy = (name: string, snapshot = 'one') => create(w, name, from(snapshot));
  const volumeFrom = (name: string, body: object) =>
    w.store.volumeCreate(ctx, { projectId: w.projectId, body: VolumeCreate.parse({ name, ...body }) });
  const volume = (name: string) => w.store.volumeGet(w.projectId, name);
  const remove = (name: string) =>
    w.store.instanceDelete(ctx, { projectId: w.projectId, name, deadlineSeconds: 60 });
  const listed = async (instanceId: string) =>
    (await w.store.assignmentsRead(alpha.id))?.assignments.find((one) => one.instanceId === instanceId);
  /** Its host says that its machine has all its disks. */
  const seen = (instance: { id: never }, epoch: number, ids: readonly string[]) =>
    report(w, alpha, {
      instance,
      epoch,
      phase: 'running',
      revision: 1,
      volumes: ids.map((id) => ({ id: id as never, sizeMiB: 64 })),
    });

  test('is on the host of the snapshot, which stays until a machine has it there; then they are apart', async () => {
    const old = await running('a');
    await ready('a', 'one');
    const before = (await usedDisk()) ?? 0;
    const made = await copy('b');
    expect(await usedDisk()).toBe(before + 64);
    const root = await volume('b.root');
    expect(root).toMatchObject({
      host: { name: 'alpha' },
      source: { instance: 'a', snapshot: 'one' },
      sourceHeld: true,
    });
    expect(made.uuid).not.toBe(old.instance.uuid);
    expect(made.status.nics[0]?.mac).not.toBe(old.instance.status.nics[0]?.mac);
    expect(await w.store.pendingInstance(made.id)).toMatchObject({ volumeHostId: alpha.id });
    for (const held of [drop('a', 'one'), remove('a')]) expect(await refusal(held)).toBe('conflict');
    const epoch = await place(w, made, alpha);
    const snapshotId = (await get('a', 'one'))?.id;
    const volumeId = (await volume('a.root'))?.id;
    expect((await listed(made.id))?.rootVolume.source).toEqual({ snapshotId, volumeId });
    // It runs, and its host has not said yet from what.
    await report(w, alpha, { instance: made, epoch, phase: 'running' });
    expect(await refusal(drop('a', 'one'))).toBe('conflict');
    await seen(made as never, epoch, [root?.id ?? '']);
    expect((await listed(made.id))?.rootVolume).toEqual({ id: root?.id, sizeMiB: 64 });
    expect(await volume('b.root')).toMatchObject({ source: { snapshot: 'one' }, sourceHeld: false });
    const { operation: op } = await drop('a', 'one');
    await says(op.id, { state: 'done', taken: null });
    await remove('a');
  });

  test('lets go of the snapshot when it is discarded before it was made', async () => {
    await running('a');
    await ready('a', 'one');
    await copy('b');
    await remove('b');
    const rebuilt = await copy('c');
    await w.store.instanceRebuild(ctx, { projectId: w.projectId, name: 'c', deadlineSeconds: 60 });
    expect((await w.store.instanceGet(w.projectId, 'c'))?.spec.rootDisk).toEqual({
      sizeMiB: 64,
      pool: 'default',
    });
    expect(await volume('c.root')).toMatchObject({ source: null, sourceHeld: false });
    await place(w, rebuilt, alpha);
    expect((await listed(rebuilt.id))?.rootVolume.source).toBeUndefined();
    await drop('a', 'one');
  });

  test('is a data volume too, made when an instance first has it', async () => {
    await data('data');
    await running('a', ['data']);
    await ready('a', 'one');
    const source = { instance: 'a', snapshot: 'one', volume: 'data' };
    const made = await volumeFrom('other', { sizeMiB: 120, source });
    expect(made).toMatchObject({ host: { name: 'alpha' }, source, sourceHeld: true });
    expect(await refusal(drop('a', 'one'))).toBe('conflict');
    const instance = await create(w, 'b', { ...vm, volumes: [{ name: 'other' }] });
    const epoch = await place(w, instance, alpha);
    expect((await listed(instance.id))?.volumes).toMatchObject([
      { id: made.id, source: { snapshotId: (await get('a', 'one'))?.id } },
    ]);
    await seen(instance as never, epoch, [made.id]);
    expect((await listed(instance.id))?.volumes[0]).not.toHaveProperty('source');
    const second = await volumeFrom('second', { sizeMiB: 100, source });
    await w.store.volumeDelete(ctx, { projectId: w.projectId, ref: second.name });
    await drop('a', 'one');
  });

  test('is refused by the name of the field that cannot be, and leaves nothing', async () => {
    await data('data');
    await running('a', ['data']);
    await ready('a', 'one');
    await w.store.imageInsert(ctx, {
      projectId: w.projectId,
      name: 'other',
      content: { ...diskImage, digest: digest(10), blobs: [{ digest: digest(10), sizeBytes: 1 }] },
    });
    const before = await usedDisk();
    const path = (work: Promise<unknown>) =>
      work.then(
        () => 'nothing refused',
        (e: BerthError) => e.options.errors?.[0]?.path ?? e.code,
      );
    const source = { instance: 'a', snapshot: 'one' };
    expect(await path(create(w, 'b', from('one', 'nobody')))).toBe('/spec/rootDisk/source/instance');
    expect(await path(copy('b', 'two'))).toBe('/spec/rootDisk/source/snapshot');
    expect(await path(create(w, 'b', { ...from('one'), image: 'other' }))).toBe('/spec/image');
    await w.store.volumeUpdate(ctx, { projectId: w.projectId, ref: 'data', update: { sizeMiB: 110 } });
    const volumes: [object, string][] = [
      [{ sizeMiB: 110, source: { ...source, volume: 'none' } }, '/source/volume'],
      [{ sizeMiB: 110, source: { ...source, volume: 'a-root' } }, '/source/volume'],
      // As large as the disk has become.
      [{ sizeMiB: 100, source: { ...source, volume: 'data' } }, '/sizeMiB'],
      [{ sizeMiB: 5000, source: { ...source, volume: 'data' } }, 'noRoom'],
    ];
    for (const [body, at] of volumes) expect(await path(volumeFrom('v', body))).toBe(at);
    expect(await volume('v')).toBeNull();
    await take('a', 'two');
    expect(await path(copy('b', 'two'))).toBe('stateConflict');
    await able([]);
    expect(await path(copy('b'))).toBe('unsupported');
    expect([await w.store.instanceGet(w.projectId, 'b'), await volume('b.root')]).toEqual([null, null]);
    expect(await usedDisk()).toBe((before ?? 0) + 10 + 174);
  });

  test('says in its spec what it began as, and that cannot change', async () => {
    await running('a');
    await ready('a', 'one');
    const { spec } = await copy('b');
    const update = (rootDisk: object) =>
      w.store.instanceUpdate(ctx, {
        projectId: w.projectId,
        name: 'b',
        spec: InstanceSpec.parse({ ...spec, rootDisk }),
        deadlineSeconds: 60,
      });
    expect(await refusal(update({ sizeMiB: 64 }))).toBe('invalid');
    await update({ ...spec.rootDisk, sizeMiB: 80 });
  });

  test('is of instances of its project, and of none that is being deleted', async () => {
    await running('a');
    await ready('a', 'one');
    const { id: projectId } = await w.store.projectCreate(ctx, { name: 'q' });
    await w.store.imageInsert(ctx, { projectId, name: 'debian', content: diskImage });
    const stranger = { name: 'b', labels: {}, spec: InstanceSpec.parse(from('one')) };
    expect(
      await refusal(w.store.instanceCreate(ctx, { projectId, body: stranger, deadlineSeconds: 60 })),
    ).toBe('invalid');
    await remove('a');
    expect(await refusal(copy('b'))).toBe('stateConflict');
  });
});

describe('a schedule', () => {
  const hourly = { everyMinutes: 60, keep: 2 };
  const minutes = (n: number) => w.clock.advance(n * 60_000);
  const advance = () => w.store.snapshotSchedulesAdvance();
  const names = async () => (await w.store.snapshotList(w.projectId, 'a')).map((s) => s.name);
  const late = async () =>
    (await w.store.instanceGet(w.projectId, 'a'))?.status.conditions.find((c) => c.type === 'SnapshotsLate');
  /** The host does all that is asked of it. */
  async function obeys(): Promise<void> {
    for (const { id, state } of await orders())
      await says(id, { state: 'done', taken: state === 'creating' ? taken : null });
  }
  const plan = (snapshots: object | undefined) =>
    w.store.instanceGet(w.projectId, 'a').then((i) =>
      w.store.instanceUpdate(ctx, {
        projectId: w.projectId,
        name: 'a',
        spec: InstanceSpec.parse({ ...i?.spec, snapshots }),
        deadlineSeconds: 60,
      }),
    );

  test('takes one of each hour while its instance runs, keeps the newest, and those of users', async () => {
    await running('a');
    await ready('a', 'mine');
    await plan(hourly);
    expect(await advance()).toEqual([]);
    minutes(59);
    expect(await advance()).toEqual([]);
    minutes(1);
    // Two APIs look at the same time, and one of them again.
    const looks = await Promise.all([advance(), advance()]);
    expect(looks.flat()).toEqual([alpha.id]);
    expect(await advance()).toEqual([]);
    expect(await get('a', 'auto-20260101-0100')).toMatchObject({
      state: 'creating',
      actor: 'system:snapshots',
      scheduledFor: '2026-01-01T01:00:00.000Z',
    });
    await obeys();
    // Of what was missed the last is made up for.
    minutes(150);
    await advance();
    await obeys();
    minutes(60);
    await advance();
    expect(await names()).toEqual(['mine', 'auto-20260101-0100', 'auto-20260101-0300', 'auto-20260101-0400']);
    await obeys();
    await advance();
    await obeys();
    expect(await names()).toEqual(['mine', 'auto-20260101-0300', 'auto-20260101-0400']);
    // One that somebody deletes does not come again.
    await drop('a', 'auto-20260101-0400');
    await obeys();
    expect(await advance()).toEqual([]);
    await plan(undefined);
    minutes(600);
    expect(await advance()).toEqual([]);
  });

  test('says why it is late and what to do, tries again while it is refused, and loses none meanwhile', async () => {
    await running('a');
    await plan({ ...hourly, keep: 1 });
    minutes(60);
    await advance();
    await obeys();
    minutes(60);
    await w.store.hostsSilentMark(-1);
    expect(await advance()).toEqual([]);
    expect(await late()).toMatchObject({
      reason: 'unavailable',
      message: expect.stringContaining('alpha is silent') as string,
      remedy: expect.stringContaining('agent') as string,
    });
    await advance();
    const told = async () =>
      (await w.store.eventsRead(null, 1000)).events.filter((e) => e.type === 'instance.snapshotsLate');
    await w.store.eventsNumber();
    expect(await told()).toHaveLength(1);
    expect(await names()).toEqual(['auto-20260101-0100']);
    await w.store.hostSeen(alpha.id, alpha.session);
    await advance();
    const [order] = await orders();
    await says(order?.id ?? '', {
      state: 'failed',
      code: 'noSpace',
      message: 'the pool is full',
      remedy: 'Make room.',
    });
    expect(await late()).toMatchObject({ reason: 'noSpace', remedy: 'Make room.' });
    expect(await names()).toEqual(['auto-20260101-0100']);
    // What the host gave up is not asked for again before the next hour.
    expect(await advance()).toEqual([]);
    minutes(60);
    await advance();
    await obeys();
    expect(await late()).toBeUndefined();
    await advance();
    await obeys();
    expect(await names()).toEqual(['auto-20260101-0300']);
  });

  test('waits for no other: a name that is taken is said of its own instance alone', async () => {
    await running('a');
    await running('b');
    for (const name of ['a', 'b']) {
      const spec = {
        ...(await w.store.instanceGet(w.projectId, name))!.spec,
        snapshots: { ...hourly, offsetMinutes: 0 },
      };
      await w.store.instanceUpdate(ctx, { projectId: w.projectId, name, spec, deadlineSeconds: 60 });
    }
    await ready('a', 'auto-20260101-0100');
    await ready('b', 'auto-20260101-0200');
    minutes(60);
    await advance();
    expect(await late()).toMatchObject({ reason: 'nameTaken' });
    expect(await get('b', 'auto-20260101-0100')).toMatchObject({ state: 'creating' });
    await obeys();
    minutes(60);
    await advance();
    expect(await get('a', 'auto-20260101-0200')).toMatchObject({ state: 'creating' });
  });

  test('leaves alone what does not run', async () => {
    await stopped('a');
    await plan(hourly);
    minutes(60);
    expect([await advance(), await names(), await late()]).toEqual([[], [], undefined]);
  });
});
