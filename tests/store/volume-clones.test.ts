import { InstanceSpec } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { CloneReport } from '../../apps/api/src/store/rows.js';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { startPostgres } from '../support/postgres.js';
import type { TestHost, World } from './fixture.js';
import {
  capabilities,
  create,
  ctx,
  joinHost,
  openSession,
  place,
  refusal,
  report,
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
  await able(['clones', 'copies']);
});
afterEach(() => w?.store.close());

const room = { cpuMillis: 4000, memoryMiB: 4096, diskMiB: 1000 };
const able = (facets: string[]) =>
  w.store.hostCapabilitiesSet(alpha.id, alpha.session, { ...capabilities, facets }, room);
const vm = { isolation: 'vm', image: 'debian', memoryMiB: 64, rootDisk: { sizeMiB: 64 } } as const;
const limits = { readOperationsPerSecond: 7 };
const data = (name: string, sizeMiB = 100) =>
  w.store.volumeCreate(ctx, {
    projectId: w.projectId,
    body: { name, sizeMiB, format: 'qcow2', pool: 'default', limits },
  });
const clone = (ref: string, name: string, more: { format?: 'raw'; ifMatch?: number } = {}) => {
  const { format, ...target } = more;
  const body = { name, ...(format === undefined ? {} : { format }) };
  return w.store.volumeClone(ctx, {
    projectId: w.projectId,
    ref,
    ...target,
    clone: body,
    deadlineSeconds: 60,
  });
};
const volume = (name: string) => w.store.volumeGet(w.projectId, name);
const drop = (ref: string) => w.store.volumeDelete(ctx, { projectId: w.projectId, ref });
const list = async () => (await w.store.assignmentsRead(alpha.id)) ?? expect.fail('no list');
const orders = async () => (await list()).clones;
const says = (orderId: string, outcome: CloneReport['outcome'], session = alpha.session) =>
  w.store.cloneReport({ hostId: alpha.id, session, orderId: orderId as never, outcome });
const usedDisk = async () => (await w.store.hostGet('alpha'))?.used.diskMiB;
const operation = (id: string) => w.store.operationGet(w.projectId, id as never);
const act = (name: string, verb: 'start' | 'stop') =>
  w.store.instanceAct(ctx, { projectId: w.projectId, name, verb, deadlineSeconds: 60 });
const mount = async (name: string, ...volumes: string[]) => {
  const spec = (await w.store.instanceGet(w.projectId, name))?.spec;
  return w.store.instanceUpdate(ctx, {
    projectId: w.projectId,
    name,
    spec: InstanceSpec.parse({ ...spec, volumes: volumes.map((v) => ({ name: v })) }),
    deadlineSeconds: 60,
  });
};

async function running(name: string, volumes: string[]) {
  const instance = await create(w, name, { ...vm, volumes: volumes.map((v) => ({ name: v })) });
  const epoch = await place(w, instance, alpha);
  await report(w, alpha, { instance, epoch, phase: 'running', revision: 1, volumes: [] });
  return { instance, epoch };
}
/** An instance that has stopped, with volumes that are on its host since it ran. */
async function stopped(name: string, volumes: string[]) {
  const { instance, epoch } = await running(name, volumes);
  await act(name, 'stop');
  const exit = { reason: 'stopped', at: '2026-01-01T00:00:00.000Z' } as const;
  await report(w, alpha, { instance, epoch, phase: 'ended', power: 'off', exit, revision: 2, volumes: [] });
}

describe('a clone', () => {
  test('is asked of the host of the other volume, on booked room, until the host says that it is whole', async () => {
    const { id: sourceId } = await data('data');
    await stopped('a', ['data']);
    const before = (await usedDisk()) ?? 0;
    const { operation: op, volume: made, hosts } = await clone('data', 'copy', { format: 'raw' });
    expect(hosts).toEqual([alpha.id]);
    expect(op).toMatchObject({
      kind: 'volumeClone',
      state: 'running',
      target: { kind: 'volume', id: made?.id, name: 'copy' },
    });
    expect(made).toMatchObject({
      kind: 'data',
      format: 'raw',
      sizeMiB: 100,
      limits,
      owner: null,
      host: { name: 'alpha' },
      cloning: { from: 'data', operationId: op.id },
    });
    expect(await usedDisk()).toBe(before + 100);
    expect(await orders()).toEqual([
      { id: op.id, volumeId: made?.id, sourceId, format: 'raw', sizeMiB: 100 },
    ]);
    expect(await says(op.id, { state: 'copying', percent: 40 })).toMatchObject({ changed: false });
    // A host that was killed begins anew; what was told of it does not go back.
    await says(op.id, { state: 'copying', percent: 10 });
    expect(await operation(op.id)).toMatchObject({ state: 'running', progress: 40 });
    const stale = alpha.session;
    alpha = { ...alpha, session: await openSession(w.store, alpha.id, alpha.name) };
    expect(await says(op.id, { state: 'done' }, stale)).toMatchObject({ changed: false });
    expect(await says(op.id, { state: 'done' })).toEqual({ changed: true, freed: false });
    expect(await operation(op.id)).toMatchObject({ state: 'succeeded', progress: 100 });
    expect(await volume('copy')).toMatchObject({ cloning: null });
    expect(await orders()).toEqual([]);
    expect(await says(op.id, { state: 'failed', code: 'x', message: 'late' })).toMatchObject({
      changed: false,
    });
    // It is independent: both can be used and deleted by themselves.
    await mount('a');
    await drop('data');
    await create(w, 'b', { ...vm, volumes: [{ name: 'copy' }] });
  });

  test('of a volume that is on no host is as empty, at once', async () => {
    await data('data');
    const { operation: op, hosts } = await clone('data', 'copy');
    expect(op).toMatchObject({ state: 'succeeded', progress: 100 });
    expect(hosts).toEqual([]);
    expect(await volume('copy')).toMatchObject({ host: null, cloning: null, sizeMiB: 100, format: 'qcow2' });
  });

  test('that fails leaves nothing: its name and its room are free', async () => {
    await data('data');
    await stopped('a', ['data']);
    const before = await usedDisk();
    const { operation: op } = await clone('data', 'copy');
    await says(op.id, { state: 'retrying', code: 'hostFault', message: 'for now' });
    expect(await operation(op.id)).toMatchObject({
      state: 'running',
      steps: [{ name: 'retrying', message: 'for now' }],
    });
    expect(await says(op.id, { state: 'failed', code: 'noSpace', message: 'full' })).toEqual({
      changed: true,
      freed: true,
    });
    expect(await operation(op.id)).toMatchObject({
      state: 'failed',
      error: { code: 'noSpace', message: 'full' },
    });
    expect(await volume('copy')).toBeNull();
    expect(await usedDisk()).toBe(before);
    await clone('data', 'copy');
  });

  test('is given up by its deletion, whose order goes to the host in its place', async () => {
    await data('data');
    await stopped('a', ['data']);
    const { operation: op, volume: made } = await clone('data', 'copy');
    expect(await drop('copy')).toMatchObject({ hosts: [alpha.id] });
    expect(await operation(op.id)).toMatchObject({ state: 'cancelled' });
    const { clones, tombstones } = await list();
    expect(clones).toEqual([]);
    expect(tombstones).toMatchObject([{ volumeId: made?.id }]);
    expect(await says(op.id, { state: 'done' })).toMatchObject({ changed: false });
    await w.store.tombstoneDone(alpha.id, alpha.session, tombstones[0]?.id ?? '');
    expect(await volume('copy')).toBeNull();
    await act('a', 'start');
  });

  test('keeps whoever could write the other volume from it, and the copy from being used', async () => {
    await data('data');
    await stopped('a', ['data']);
    await create(w, 'b', { ...vm, desired: 'stopped' });
    const { operation: op } = await clone('data', 'copy');
    expect(await refusal(act('a', 'start'))).toBe('stateConflict');
    const take = () =>
      w.store.snapshotCreate(ctx, { projectId: w.projectId, instance: 'a', name: 's', deadlineSeconds: 60 });
    expect(await refusal(take())).toBe('stateConflict');
    expect(await refusal(drop('data'))).toBe('inUse');
    expect(await refusal(mount('b', 'copy'))).toBe('stateConflict');
    expect(await refusal(clone('copy', 'third'))).toBe('stateConflict');
    await mount('a');
    expect(await refusal(drop('data'))).toBe('conflict');
    expect(await refusal(mount('b', 'data'))).toBe('stateConflict');
    // Another one may be made of it meanwhile.
    await clone('data', 'third');
    await says(op.id, { state: 'done' });
    expect(await refusal(mount('b', 'data'))).toBe('stateConflict');
    await mount('b', 'copy');
    await act('a', 'start');
  });

  test('is refused of what may be written, is not there, or has no room', async () => {
    await data('data');
    await data('large', 700);
    await running('a', ['data']);
    expect(await refusal(clone('data', 'copy'))).toBe('stateConflict');
    await create(w, 'waits', { ...vm, memoryMiB: 100_000, volumes: [{ name: 'large' }] });
    expect(await refusal(clone('large', 'copy'))).toBe('stateConflict');
    await data('other', 500);
    await act('a', 'stop');
    expect(await refusal(clone('data', 'copy'))).toBe('stateConflict');
    expect(await refusal(clone('nowhere', 'copy'))).toBe('notFound');
    expect(await refusal(clone('a.root', 'copy'))).toBe('conflict');
    await stopped('b', ['other']);
    expect(await refusal(clone('other', 'copy'))).toBe('noRoom');
    expect(await volume('copy')).toBeNull();
    expect(await refusal(clone('other', 'data'))).toBe('noRoom');
    await data('small', 10);
    await stopped('c', ['small']);
    expect(await refusal(clone('small', 'data'))).toBe('nameTaken');
    expect(await refusal(clone('small', 'copy', { ifMatch: 99 }))).toBe('preconditionFailed');
    await able([]);
    expect(await refusal(clone('small', 'copy'))).toBe('unsupported');
    expect(await orders()).toEqual([]);
  });

  test('and a start of who has the other volume exclude each other, whoever asks first', async () => {
    for (const n of [1, 2, 3, 4]) {
      await data(`d${n}`, 1);
      await stopped(`i${n}`, [`d${n}`]);
      const codes = await Promise.all([refusal(clone(`d${n}`, `c${n}`)), refusal(act(`i${n}`, 'start'))]);
      expect(codes.filter((code) => code === 'stateConflict')).toHaveLength(1);
    }
  });
});
