import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { startPostgres, withClient } from '../support/postgres.js';
import type { TestHost, World } from './fixture.js';
import { create, ctx, ids, joinHost, openSession, place, world } from './fixture.js';
import { openStore } from '../../apps/api/src/store/open.js';
import type { Instance } from '@berth/model';
import type { PlacementReport } from '../../apps/api/src/store/store.js';

let cluster: ThrowawayPostgres;
let w: World;
let host: TestHost;
let instance: Instance;
let base: PlacementReport;
beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(() => cluster.stop());
beforeEach(async () => {
  w = await world(cluster.url);
  host = await joinHost(w, 'alpha');
  instance = await create(w, 'a');
  const epoch = await place(w, instance, host);
  base = {
    hostId: host.id,
    session: host.session,
    seq: 10,
    instanceId: instance.id,
    epoch,
    run: 1,
    phase: 'running',
    power: 'running',
    exit: null,
    observedAt: w.clock.now(),
  };
  expect(await w.store.reportApply(base)).toMatchObject({ outcome: 'applied', state: 'running' });
});
afterEach(() => w?.store.close());

/** Everything a report can touch, as text. */
async function everything(): Promise<string> {
  const tables = ['instances', 'placements', 'operations', 'events', 'hosts', 'tombstones', 'volumes'];
  return withClient(w.url, async (c) => {
    const all = [];
    for (const t of tables)
      all.push((await c.query(`SELECT to_jsonb(t)::text AS row FROM ${t} t ORDER BY 1`)).rows);
    return JSON.stringify(all);
  });
}

test.each<[string, Partial<PlacementReport>, string]>([
  ['the same report again', {}, 'seq'],
  ['a lower seq', { seq: 9, phase: 'ended' }, 'seq'],
  ['a session that was never issued', { seq: 11, session: 999_999, phase: 'ended' }, 'session'],
  ['an epoch that was never made', { seq: 11, epoch: 2, phase: 'ended' }, 'epoch'],
  [
    'an instance that does not exist',
    { seq: 11, instanceId: '00000000-0000-4000-8000-000000000000' as never },
    'epoch',
  ],
  ['an earlier phase of the same run', { seq: 11, phase: 'starting' }, 'order'],
  ['an earlier run', { seq: 11, run: 0, phase: 'ended' }, 'order'],
])('%s is stale and changes nothing', async (_what, change, reason) => {
  const before = await everything();
  expect(await w.store.reportApply({ ...base, ...change })).toEqual({ outcome: 'stale', reason });
  expect(await everything()).toBe(before);
});

test('nodes of its host are told as long as its host says them, and by no placement that ended', async () => {
  const told = async () => (await w.store.instanceGet(w.projectId, 'a'))?.status.numaHostNodes;
  expect(await told()).toBeNull();
  await w.store.reportApply({ ...base, seq: base.seq + 1, numaHostNodes: [1, 0] });
  expect(await told()).toEqual([1, 0]);
  await w.store.reportApply({ ...base, seq: base.seq + 2, numaHostNodes: [1], phase: 'ended', power: 'off' });
  expect(await told()).toBeNull();
});

test('users of its host are told once its host says them, also while it is stopped', async () => {
  const told = async () => (await w.store.instanceGet(w.projectId, 'a'))?.status.uidRange;
  expect(await told()).toBeNull();
  const uidRange = { first: 0x1000_0000, count: 65_536 };
  await w.store.reportApply({ ...base, seq: base.seq + 1, uidRange });
  await w.store.reportApply({ ...base, seq: base.seq + 2, uidRange: null, phase: 'ended', power: 'off' });
  expect(await told()).toEqual(uidRange);
});

test('a context id is told as long as its host says it, up to the largest, and by no placement that ended', async () => {
  const told = async () => (await w.store.instanceGet(w.projectId, 'a'))?.status.vsockCid;
  let { seq } = base;
  const says = async (change: Partial<PlacementReport>) => {
    await w.store.reportApply({ ...base, ...change, seq: (seq += 1) });
    return told();
  };
  expect(await told()).toBeNull();
  expect(await says({ vsockCid: 0xffff_fffe })).toBe(0xffff_fffe);
  expect(await says({ vsockCid: null })).toBeNull();
  expect(await says({ vsockCid: 65_540 })).toBe(65_540);
  expect(await says({ vsockCid: 65_540, phase: 'ended', power: 'off' })).toBeNull();
});

test('the session before the newest is stale, however high its seq', async () => {
  await openSession(w.store, host.id, 'alpha');
  const before = await everything();
  const late = await w.store.reportApply({ ...base, seq: 1_000_000, phase: 'ended' });
  expect(late).toEqual({ outcome: 'stale', reason: 'session' });
  expect(await w.store.hostSeen(host.id, host.session)).toEqual({ changed: false, back: false });
  expect(await everything()).toBe(before);
});

test('a new session may begin its numbers again, so a restored agent disk is heard', async () => {
  const session = await openSession(w.store, host.id, 'alpha');
  const fresh = await w.store.reportApply({ ...base, session, seq: 1, phase: 'ended' });
  expect(fresh).toMatchObject({ outcome: 'applied', freed: true });
});

test('another host cannot report for this placement', async () => {
  const other = await joinHost(w, 'beta');
  const before = await everything();
  const forged = { ...base, hostId: other.id, session: other.session, seq: 99, phase: 'ended' as const };
  expect(await w.store.reportApply(forged)).toEqual({ outcome: 'stale', reason: 'epoch' });
  expect(await everything()).toBe(before);
});

test('ended is final: a later report of the epoch does not bring it back', async () => {
  await w.store.reportApply({ ...base, seq: 11, phase: 'ended' });
  const before = await everything();
  const late = await w.store.reportApply({ ...base, seq: 12, run: 2, phase: 'running' });
  expect(late).toEqual({ outcome: 'stale', reason: 'order' });
  expect(await everything()).toBe(before);
});

test('a machine that its host holds up is paused with the reason, and its driver stays known', async () => {
  const status = async () => (await w.store.instanceById(instance.id))?.status;
  expect(await status()).toMatchObject({ state: 'running', driver: null });
  const full = { type: 'StorageError', reason: 'NoSpace', message: 'its disk is full', remedy: 'make space' };
  const held = { ...base, driver: 'qemu', power: 'paused' as const };
  await w.store.reportApply({ ...held, seq: 11, conditions: [full] });
  expect(await status()).toMatchObject({
    state: 'paused',
    reason: 'its disk is full',
    operationId: null,
    driver: 'qemu',
    conditions: [full],
  });
  // Without that condition a machine that should run and is paused is on its way.
  await w.store.reportApply({ ...held, seq: 12 });
  expect(await status()).toMatchObject({ state: 'resuming' });
  await w.store.reportApply({ ...base, seq: 13 });
  expect(await status()).toMatchObject({ state: 'running', reason: null, driver: 'qemu', conditions: [] });
});

test('reports of many lanes at once leave the highest one standing', async () => {
  const seqs = Array.from({ length: 30 }, (_, n) => 11 + ((n * 7) % 30));
  const power = (seq: number) => (seq === 40 ? ('paused' as const) : ('running' as const));
  await Promise.all(seqs.map((seq) => w.store.reportApply({ ...base, seq, power: power(seq) })));
  const end = await w.store.instanceById(instance.id);
  expect(end?.status.power).toBe('paused');
});

test('a key is held by one, replayed after it, and refused with another body', async () => {
  const begin = { scope: 's', key: 'k', requestHash: 'h1', leaseSeconds: 30, ttlSeconds: 3600 };
  const both = await Promise.all([w.store.idempotencyBegin(begin), w.store.idempotencyBegin(begin)]);
  expect(both.map((b) => b.outcome).sort()).toEqual(['begun', 'inProgress']);
  expect(await w.store.idempotencyBegin({ ...begin, requestHash: 'h2' })).toEqual({ outcome: 'mismatch' });
  await w.store.idempotencyComplete({
    scope: 's',
    key: 'k',
    status: 202,
    answer: { a: 1 },
    headers: { location: '/x' },
  });
  const replay = { outcome: 'replay', status: 202, answer: { a: 1 }, headers: { location: '/x' } };
  expect(await w.store.idempotencyBegin(begin)).toEqual(replay);
  w.clock.advance(3_601_000);
  expect(await w.store.idempotencyTrim()).toBe(1);
});

test('a key whose process died before the commit is taken over, after it leads to the operation', async () => {
  const begin = { scope: 's', key: 'k', requestHash: 'h', leaseSeconds: 30, ttlSeconds: 3600 };
  await w.store.idempotencyBegin(begin);
  w.clock.advance(31_000);
  expect(await w.store.idempotencyBegin(begin)).toEqual({ outcome: 'begun' });
  const keyed = { ...ctx, idempotency: { scope: 's', key: 'k' } };
  const act = { projectId: w.projectId, name: 'a', verb: 'stop' as const, deadlineSeconds: 60 };
  const { operation } = await w.store.instanceAct(keyed, act);
  w.clock.advance(31_000);
  expect(await w.store.idempotencyBegin(begin)).toEqual({ outcome: 'committed', operationId: operation.id });
  expect(await w.store.idempotencyAbandon('s', 'k')).toBe(false);
});

test('a key whose process died is free at once, with the same request only', async () => {
  const dead = await openStore({ url: w.url, clock: w.clock, ids });
  const begin = { scope: 's', key: 'dead', requestHash: 'h', leaseSeconds: 90, ttlSeconds: 3600 };
  expect(await dead.idempotencyBegin(begin)).toEqual({ outcome: 'begun' });
  expect(await w.store.idempotencyBegin(begin)).toEqual({ outcome: 'inProgress' });
  await dead.close();
  // The server notices the end of a session in its own time.
  for (let free = false; !free;) free = (await w.store.idempotencyBegin(begin)).outcome === 'begun';
  expect(await w.store.idempotencyBegin({ ...begin, requestHash: 'other' })).toEqual({ outcome: 'mismatch' });
});

test('of two that hold one key, because the first was thought dead, the second to commit is undone', async () => {
  const begin = { scope: 's', key: 'both', requestHash: 'h', leaseSeconds: 90, ttlSeconds: 3600 };
  await w.store.idempotencyBegin(begin);
  const keyed = { ...ctx, idempotency: { scope: 's', key: 'both' } };
  const stop = { projectId: w.projectId, name: 'a', verb: 'stop' as const, deadlineSeconds: 60 };
  await w.store.instanceAct(keyed, stop);
  const start = w.store.instanceAct(keyed, { ...stop, verb: 'start' });
  await expect(start).rejects.toMatchObject({ code: 'idempotencyInProgress' });
  expect((await w.store.instanceGet(w.projectId, 'a'))?.spec.desired).toBe('stopped');
});
