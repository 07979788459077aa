import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { CloneReport } from '../../apps/api/src/store/rows.js';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { startPostgres } from '../support/postgres.js';
import type { TestHost, World } from './fixture.js';
import { capabilities, create, ctx, joinHost, place, refusal, report, world } from './fixture.js';

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
  await able(['clones', 'copies', 'snapshots', 'exports']);
});
afterEach(() => w?.store.close());

const room = { cpuMillis: 4000, memoryMiB: 4096, diskMiB: 1000 };
const able = (facets: string[]) =>
  w.store.hostCapabilitiesSet(alpha.id, alpha.session, { ...capabilities, facets }, room);
const vm = { isolation: 'vm', image: 'debian', memoryMiB: 64, rootDisk: { sizeMiB: 64 } } as const;
const data = (name: string, sizeMiB = 100) =>
  w.store.volumeCreate(ctx, {
    projectId: w.projectId,
    body: { name, sizeMiB, format: 'qcow2', pool: 'default', limits: {} },
  });
const ask = (ref: string, snapshot?: string, instance = 'a') =>
  w.store.volumeExport(ctx, {
    projectId: w.projectId,
    ref,
    wanted: { format: 'raw', ...(snapshot === undefined ? {} : { source: { instance, snapshot } }) },
    deadlineSeconds: 60,
  });
const volume = (ref: string) => w.store.volumeGet(w.projectId, ref);
const drop = (ref: string) => w.store.volumeDelete(ctx, { projectId: w.projectId, ref });
const list = async () => (await w.store.assignmentsRead(alpha.id)) ?? expect.fail('no list');
const says = (orderId: string, outcome: CloneReport['outcome']) =>
  w.store.cloneReport({ hostId: alpha.id, session: alpha.session, orderId: orderId as never, outcome });
const usedDisk = async () => (await w.store.hostGet('alpha'))?.used.diskMiB ?? 0;
const operation = (id: string) => w.store.operationGet(w.projectId, id as never);
const act = (name: string, verb: 'start' | 'stop') =>
  w.store.instanceAct(ctx, { projectId: w.projectId, name, verb, deadlineSeconds: 60 });
const file = { sizeBytes: 12, sha256: 'e'.repeat(64) };

async function running(name: string, volumes: string[]) {
  const instance = await create(w, name, { ...vm, volumes: volumes.map((v) => ({ name: v })) });
  const epoch = await place(w, instance, alpha);
  await report(w, alpha, { instance, epoch, phase: 'running', revision: 1, volumes: [] });
  return { instance, epoch };
}
async function stopped(name: string, volumes: string[], reason: 'guestShutdown' | 'killed') {
  const { instance, epoch } = await running(name, volumes);
  await act(name, 'stop');
  const exit = { reason, at: '2026-01-01T00:00:00.000Z' } as const;
  await report(w, alpha, { instance, epoch, phase: 'ended', power: 'off', exit, revision: 2, volumes: [] });
}
/** A snapshot of an instance, which says `application`. */
async function taken(instance: string, name: string) {
  const { projectId } = w;
  await w.store.snapshotCreate(ctx, { projectId, instance, name, deadlineSeconds: 60 });
  const [{ id: orderId } = expect.fail('no order')] = (await list()).snapshots;
  const said = {
    consistency: 'application',
    indications: [] as string[],
    takenAt: '2026-01-01T00:00:00.000Z',
    heldMiB: 1,
  } as const;
  const outcome = { state: 'done', taken: said } as const;
  await w.store.snapshotReport({ hostId: alpha.id, session: alpha.session, orderId, outcome });
}
const snapshotDrop = (instance: string, name: string) =>
  w.store.snapshotDelete(ctx, { projectId: w.projectId, instance, name, deadlineSeconds: 60 });

describe('an export', () => {
  test('of a snapshot is made while its instance runs; the snapshot stays until the host says what the file is', async () => {
    const { id: sourceId } = await data('data');
    await running('a', ['data']);
    expect(await refusal(ask('data'))).toBe('stateConflict');
    await taken('a', 's');
    const before = await usedDisk();
    const { operation: op, volume: made, hosts } = await ask('data', 's');
    expect(hosts).toEqual([alpha.id]);
    expect(op).toMatchObject({ kind: 'volumeExport', state: 'running', target: { id: made?.id } });
    const told = { of: 'data', operationId: op.id, consistency: 'application' };
    expect(made).toMatchObject({
      kind: 'export',
      format: 'raw',
      host: { name: 'alpha' },
      export: { ...told, file: null, expiresAt: null },
    });
    expect(made?.name).toMatch(/^data\.export-[0-9a-f]{8}$/);
    expect(await usedDisk()).toBe(before + 100);
    const { clones } = await list();
    expect(clones).toMatchObject([{ id: op.id, volumeId: made?.id, sourceId, format: 'raw', export: true }]);
    expect(clones[0]?.snapshotId).toMatch(/^[0-9a-f-]{36}$/);
    expect(await refusal(snapshotDrop('a', 's'))).toBe('conflict');
    await says(op.id, { state: 'copying', percent: 30 });
    expect(await operation(op.id)).toMatchObject({ state: 'running', progress: 30 });
    expect(await says(op.id, { state: 'done', file })).toEqual({ changed: true, freed: false });
    expect(await operation(op.id)).toMatchObject({ state: 'succeeded' });
    expect((await volume(made?.name ?? ''))?.export).toMatchObject({ ...told, file });
    expect((await list()).clones).toEqual([]);
    // A host repeats itself; the first word counts.
    const other = { state: 'done', file: { ...file, sizeBytes: 1 } } as const;
    expect(await says(op.id, other)).toMatchObject({ changed: false });
    expect((await volume(made?.name ?? ''))?.export?.file).toEqual(file);
    await snapshotDrop('a', 's');
  });

  test('of a volume as it is keeps its instance from starting, and tells no more of it than is known', async () => {
    await data('data');
    await data('more');
    await stopped('a', ['data'], 'guestShutdown');
    await stopped('b', ['more'], 'killed');
    const { operation: op, volume: made } = await ask('data');
    expect(made?.export?.consistency).toBe('filesystem');
    expect(made?.cloning).toBeNull();
    expect((await ask('more')).volume?.export?.consistency).toBe('crash');
    expect((await list()).clones[0]).not.toHaveProperty('snapshotId');
    expect(await refusal(act('a', 'start'))).toBe('stateConflict');
    await says(op.id, { state: 'done', file });
    await act('a', 'start');
  });

  test('is nobody’s disk: it is not attached, grown, cloned or exported', async () => {
    await data('data');
    await stopped('a', ['data'], 'killed');
    const { operation: op, volume: made } = await ask('data');
    await says(op.id, { state: 'done', file });
    const ref = made?.name ?? '';
    const { projectId } = w;
    expect(await refusal(ask(ref))).toBe('conflict');
    expect(await refusal(w.store.volumeUpdate(ctx, { projectId, ref, update: { sizeMiB: 200 } }))).toBe(
      'conflict',
    );
    const clone = { projectId, ref, clone: { name: 'copy' }, deadlineSeconds: 60 };
    expect(await refusal(w.store.volumeClone(ctx, clone))).toBe('conflict');
  });

  test('is given up by its deletion; one that fails leaves nothing; and both let go of what they were to be made of', async () => {
    await data('data');
    await running('a', ['data']);
    await taken('a', 's');
    const before = await usedDisk();
    const { operation: op, volume: made } = await ask('data', 's');
    expect(await drop(made?.name ?? '')).toMatchObject({ hosts: [alpha.id] });
    expect(await operation(op.id)).toMatchObject({ state: 'cancelled' });
    const { clones, tombstones } = await list();
    expect(clones).toEqual([]);
    expect(tombstones).toMatchObject([{ volumeId: made?.id }]);
    // The host had finished just before it read that.
    expect(await says(op.id, { state: 'done', file })).toMatchObject({ changed: false });
    await w.store.tombstoneDone(alpha.id, alpha.session, tombstones[0]?.id ?? '');
    expect(await volume(made?.name ?? '')).toBeNull();
    const again = await ask('data', 's');
    expect(await says(again.operation.id, { state: 'failed', code: 'noSpace', message: 'full' })).toEqual({
      changed: true,
      freed: true,
    });
    expect(await operation(again.operation.id)).toMatchObject({
      state: 'failed',
      error: { code: 'noSpace' },
    });
    expect(await volume(again.volume?.name ?? '')).toBeNull();
    expect(await usedDisk()).toBe(before);
    await snapshotDrop('a', 's');
  });

  test('goes by itself a day after it was made, and not before', async () => {
    await data('data');
    await stopped('a', ['data'], 'killed');
    const { operation: op, volume: made } = await ask('data');
    expect(await w.store.exportsExpire()).toEqual([]);
    await says(op.id, { state: 'done', file });
    const until = Date.parse((await volume(made?.name ?? ''))?.export?.expiresAt ?? '');
    w.clock.advance(until - w.clock.now().getTime() - 1000);
    expect(await w.store.exportsExpire()).toEqual([]);
    w.clock.advance(2000);
    expect(await w.store.exportsExpire()).toEqual([alpha.id]);
    expect((await volume(made?.name ?? ''))?.deletingSince).not.toBeNull();
    expect((await list()).tombstones).toMatchObject([{ volumeId: made?.id }]);
    expect(await w.store.exportsExpire()).toEqual([]);
  });

  test('is refused of what holds nothing, is not there, has no room, and where the host cannot', async () => {
    await data('data', 400);
    expect(await refusal(ask('data'))).toBe('stateConflict');
    expect(await refusal(ask('nowhere'))).toBe('notFound');
    expect(await refusal(ask('nowhere', 's'))).toBe('notFound');
    await running('a', ['data']);
    expect(await refusal(ask('a.root', 's'))).toBe('conflict');
    expect(await refusal(ask('data', 's'))).toBe('invalid');
    expect(await refusal(ask('data', 's', 'nobody'))).toBe('invalid');
    await taken('a', 's');
    await data('large', 200);
    await stopped('b', ['large'], 'killed');
    expect(await refusal(ask('data', 's'))).toBe('noRoom');
    await data('other', 10);
    expect(await refusal(ask('other', 's'))).toBe('invalid');
    await able(['copies', 'snapshots']);
    expect(await refusal(ask('data', 's'))).toBe('unsupported');
    expect((await list()).clones).toEqual([]);
  });
});
