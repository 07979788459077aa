import type { BerthError, Operation } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { renderList } from '../../apps/api/src/dispatch/render.js';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { startPostgres } from '../support/postgres.js';
import type { TestHost, World } from './fixture.js';
import {
  body,
  create,
  ctx,
  decisionFor,
  joinHost,
  openSession,
  place,
  report,
  refusal,
  world,
} from './fixture.js';

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

const named = (name: string) => w.store.instanceGet(w.projectId, name);
const operation = (id: string) => w.store.operationGet(w.projectId, id as never);
const act = (verb: 'start' | 'stop' | 'restart' | 'pause' | 'resume' | 'suspend', name = 'a') =>
  w.store.instanceAct(ctx, { projectId: w.projectId, name, verb, deadlineSeconds: 60 });
const remove = (name = 'a') =>
  w.store.instanceDelete(ctx, { projectId: w.projectId, name, deadlineSeconds: 60 });

/** Created, placed and running under epoch 1. */
async function running(name = 'a', spec = {}): Promise<{ id: never; epoch: number }> {
  const instance = await create(w, name, spec);
  const epoch = await place(w, instance, host);
  await report(w, host, { instance, epoch, phase: 'starting' });
  await report(w, host, { instance, epoch, phase: 'running' });
  return { id: instance.id as never, epoch };
}

describe('create', () => {
  test('writes instance, volume, nic with address, operation, revision and event in one transaction', async () => {
    const change = await w.store.instanceCreate(ctx, {
      projectId: w.projectId,
      body: body('a'),
      deadlineSeconds: 60,
    });
    expect(change.instance).toMatchObject({ name: 'a', generation: 1, runGeneration: 1, project: 'p' });
    expect(change.instance.status).toMatchObject({
      state: 'pending',
      operationId: change.operation.id,
      host: null,
    });
    expect(change.instance.status.nics).toMatchObject([{ network: 'default', ipv4: '10.64.0.2' }]);
    expect(change.instance.status.nics[0]?.mac).toMatch(/^02(:[0-9a-f]{2}){5}$/);
    expect(change.operation).toMatchObject({ kind: 'create', state: 'running', actor: 'token:test' });
    expect(await w.store.volumeList(w.projectId)).toMatchObject([
      {
        id: change.instance.status.rootVolumeId,
        kind: 'writableLayer',
        host: null,
        owner: { instance: 'a' },
      },
    ]);
    expect(await w.store.instanceRevisions(change.instance.id)).toMatchObject([
      { generation: 1, actor: 'token:test' },
    ]);
    await w.store.eventsNumber();
    const { events } = await w.store.eventsRead('0', 100, { objectId: change.instance.id });
    expect(events.map((e) => e.type)).toEqual(['instance.created']);
  });

  test.each([
    ['an unknown image', { image: 'nothing' }, '/spec/image'],
    ['an image of the wrong kind', { image: 'debian' }, '/spec/image'],
    [
      'a disk smaller than its image',
      { isolation: 'vm', image: 'debian', rootDisk: { sizeMiB: 63 } },
      '/spec/rootDisk/sizeMiB',
    ],
    ['an unknown network', { nics: [{ network: 'nowhere' }] }, '/spec/nics/0/network'],
    ['an unknown pool', { rootDisk: { sizeMiB: 16, pool: 'nowhere' } }, '/spec/rootDisk/pool'],
  ])('%s is refused with its field, and nothing is left', async (_what, spec, path) => {
    const error = await create(w, 'a', spec as never).then(
      () => null,
      (e: unknown) => e as BerthError,
    );
    expect(error?.code).toBe('invalid');
    expect(error?.options.errors?.[0]).toMatchObject({ path, remedy: expect.stringMatching(/./) });
    expect(await named('a')).toBeNull();
    expect(await w.store.volumeList(w.projectId)).toEqual([]);
    expect((await w.store.operationList({ projectId: w.projectId })).items).toEqual([]);
  });

  test('a taken name is refused', async () => {
    await create(w, 'a');
    expect(await refusal(create(w, 'a'))).toBe('nameTaken');
  });

  test('one more nic than the subnet has addresses is refused, and a deleted one frees its address', async () => {
    const body = { name: 'small', cidr: '10.70.0.0/29' };
    await w.store.networkCreate(ctx, { projectId: w.projectId, body, anyRange: false });
    const small = { nics: [{ network: 'small' }], desired: 'stopped' as const };
    for (let n = 0; n < 5; n += 1) await create(w, `i${n}`, small);
    expect(await refusal(create(w, 'more', small))).toBe('unavailable');
    await remove('i3');
    expect((await create(w, 'more', small)).status.nics[0]?.ipv4).toBe('10.70.0.5');
  });

  test('projects get subnets that never overlap', async () => {
    const names = Array.from({ length: 12 }, (_, n) => `q${n}`);
    await Promise.all(names.map((name) => w.store.projectCreate(ctx, { name })));
    const projects = await w.store.projectList();
    const cidrs = await Promise.all(
      projects.map(async (p) => (await w.store.networkGet(p.id, 'default'))?.cidr),
    );
    expect(new Set(cidrs).size).toBe(13);
    expect(cidrs).toContain('10.64.12.0/24');
  });
});

describe('the way from pending to running and back', () => {
  test('placed, reported and running settles the create operation', async () => {
    const { id, epoch } = await running();
    const instance = await w.store.instanceById(id);
    expect(instance?.status).toMatchObject({
      state: 'running',
      epoch,
      host: { name: 'alpha' },
      operationId: null,
    });
    const [op] = (await w.store.operationList({ projectId: w.projectId, targetId: id })).items;
    expect(op).toMatchObject({ kind: 'create', state: 'succeeded', progress: 100 });
    expect((await w.store.hostGet('alpha'))?.used).toEqual({ cpuMillis: 100, memoryMiB: 16, diskMiB: 16 });
  });

  test('stop frees cpu and memory and keeps the disk; start makes a new epoch where the volume is', async () => {
    const { id, epoch } = await running();
    const stop = await act('stop');
    expect(stop.instance.status.state).toBe('stopping');
    expect(stop.hosts).toEqual([host.id]);
    expect((await w.store.assignmentsOffer(host.id))?.assignments[0]?.wanted).toBe('stopped');
    const ended = await report(w, host, {
      instance: { id },
      epoch,
      phase: 'ended',
      exit: { reason: 'stopped', at: w.clock.now().toISOString() },
    });
    expect(ended).toMatchObject({ outcome: 'applied', state: 'stopped', freed: true });
    expect(await operation(stop.operation.id)).toMatchObject({ state: 'succeeded' });
    expect((await w.store.hostGet('alpha'))?.used).toEqual({ cpuMillis: 0, memoryMiB: 0, diskMiB: 16 });

    const other = await joinHost(w, 'beta');
    await act('start');
    const pending = await w.store.pendingInstance(id);
    expect(pending).toMatchObject({ volumeHostId: host.id, runGeneration: 2, resources: { diskMiB: 0 } });
    const wrong = await w.store.placementCommit({
      instanceId: id,
      hostId: other.id,
      runGeneration: 2,
      decision: decisionFor({ id }, other, w.clock.now()),
    });
    expect(wrong).toMatchObject({ outcome: 'stale', reason: expect.stringMatching(/volume/) });
    expect(await place(w, { id }, host)).toBe(2);
  });

  test('a stop gives the guest what the newest request says, else its spec, else what is usual', async () => {
    const own = await running('a', { stopGraceSeconds: 7 });
    await running('b');
    const offered = async (name: string) => {
      const list = await w.store.assignmentsOffer(host.id);
      const all = list === null ? [] : renderList(list, host.session).assignments;
      return all.find(({ workload }) => workload.name === name)?.stopGraceSeconds;
    };
    expect([await offered('a'), await offered('b')]).toEqual([7, 10]);
    const ask = (verb: 'start' | 'stop' | 'restart', graceSeconds?: number) =>
      w.store.instanceAct(ctx, {
        ...{ projectId: w.projectId, name: 'a', verb, deadlineSeconds: 60 },
        ...(graceSeconds === undefined ? {} : { graceSeconds }),
      });
    const seconds = ({ operation: o }: { operation: Operation }) =>
      (Date.parse(o.deadline ?? '') - Date.parse(o.createdAt)) / 1000;
    const long = await ask('stop', 310);
    expect(await offered('a')).toBe(310);
    // Deadlines have room for the usual ten.
    expect(seconds(long)).toBe(360);
    const hurried = await ask('stop', 0);
    expect(await offered('a')).toBe(0);
    expect(seconds(hurried)).toBe(60);
    expect((await operation(long.operation.id))?.state).toBe('superseded');
    await ask('stop');
    expect(await offered('a')).toBe(7);
    await report(w, host, { instance: { id: own.id }, epoch: own.epoch, phase: 'ended' });
    await ask('start');
    await place(w, { id: own.id }, host);
    await ask('restart', 3600);
    expect(await offered('a')).toBe(3600);

    await remove('b');
    const again = await w.store.instanceDelete(ctx, {
      ...{ projectId: w.projectId, name: 'b', deadlineSeconds: 60, graceSeconds: 0 },
    });
    expect(again).toMatchObject({ gone: false, hosts: [host.id], operation: { state: 'running' } });
    expect(await offered('b')).toBe(0);
  });

  test('restart ends the old epoch first, then waits for a new one', async () => {
    const { id, epoch } = await running();
    const restart = await act('restart');
    expect(restart.instance.status.state).toBe('stopping');
    expect(await w.store.pendingInstance(id)).toBeNull();
    expect((await w.store.assignmentsRead(host.id))?.assignments[0]?.wanted).toBe('stopped');
    expect(await report(w, host, { instance: { id }, epoch, phase: 'ended' })).toMatchObject({
      state: 'pending',
    });
    const next = await place(w, { id }, host);
    await report(w, host, { instance: { id }, epoch: next, phase: 'running' });
    expect(await operation(restart.operation.id)).toMatchObject({ state: 'succeeded' });
  });

  test('pause and resume change what is wanted, not the epoch', async () => {
    const { id, epoch } = await running();
    expect((await act('pause')).instance.status.state).toBe('pausing');
    expect((await w.store.assignmentsRead(host.id))?.assignments[0]?.wanted).toBe('paused');
    expect(
      await report(w, host, { instance: { id }, epoch, phase: 'running', power: 'paused' }),
    ).toMatchObject({ state: 'paused' });
    expect((await act('resume')).instance.status.state).toBe('resuming');
    expect(await report(w, host, { instance: { id }, epoch, phase: 'running' })).toMatchObject({
      state: 'running',
    });
    expect((await w.store.instanceById(id))?.status.epoch).toBe(1);
  });

  test('suspend and resume keep the epoch and its room; a stop discards the memory', async () => {
    const { id, epoch } = await running();
    const at = (power: 'running' | 'suspended') =>
      report(w, host, { instance: { id }, epoch, phase: 'running', power });
    const asked = await act('suspend');
    expect(asked.instance.status.state).toBe('suspending');
    expect((await w.store.assignmentsRead(host.id))?.assignments[0]?.wanted).toBe('suspended');
    expect(await at('suspended')).toMatchObject({ state: 'suspended', freed: false });
    expect(await operation(asked.operation.id)).toMatchObject({ state: 'succeeded' });
    // Asked again, it is so already.
    expect((await act('suspend')).operation.state).toBe('succeeded');
    for (const verb of ['pause', 'restart'] as const)
      await expect(act(verb)).rejects.toMatchObject({
        code: 'stateConflict',
        options: { remedy: expect.stringContaining('resume it first') as string },
      });
    const resume = await act('resume');
    expect(resume.instance.status.state).toBe('restoring');
    expect(await at('running')).toMatchObject({ state: 'running' });
    expect(await operation(resume.operation.id)).toMatchObject({ state: 'succeeded' });
    await act('suspend');
    await at('suspended');
    // A start of what is suspended is no new run.
    expect((await act('start')).instance).toMatchObject({ runGeneration: 1, status: { state: 'restoring' } });
    await act('suspend');
    expect((await act('stop')).instance.status.state).toBe('stopping');
    const exit = { reason: 'stopped', at: w.clock.now().toISOString() } as const;
    expect(await report(w, host, { instance: { id }, epoch, phase: 'ended', exit })).toMatchObject({
      state: 'stopped',
      freed: true,
    });
    await expect(act('suspend')).rejects.toMatchObject({
      code: 'stateConflict',
      options: { remedy: 'start it first' },
    });
  });

  test('a machine that ends before it is suspended fails the operation, not the instance', async () => {
    const { id, epoch } = await running();
    const asked = await act('suspend');
    const exit = { reason: 'guestShutdown', at: w.clock.now().toISOString() } as const;
    expect(await report(w, host, { instance: { id }, epoch, phase: 'ended', exit })).toMatchObject({
      state: 'stopped',
    });
    expect(await operation(asked.operation.id)).toMatchObject({
      state: 'failed',
      error: { code: 'stateConflict', message: 'the workload ended before it could be suspended' },
    });
  });

  test('what ends by itself stays stopped and is not placed again', async () => {
    const { id, epoch } = await running();
    const exit = { reason: 'exited', code: 0, at: w.clock.now().toISOString() } as const;
    expect(await report(w, host, { instance: { id }, epoch, phase: 'ended', exit })).toMatchObject({
      state: 'stopped',
    });
    expect(await w.store.pendingInstances(10)).toEqual([]);
    expect((await act('start')).instance.runGeneration).toBe(2);
  });

  test('a failed start is an error with its exit, and fails the operation', async () => {
    const instance = await create(w, 'a');
    const epoch = await place(w, instance, host);
    const exit = {
      reason: 'startFailed',
      message: 'no such command',
      at: w.clock.now().toISOString(),
    } as const;
    expect(await report(w, host, { instance, epoch, phase: 'ended', exit })).toMatchObject({
      state: 'error',
    });
    const op = (await w.store.operationList({ projectId: w.projectId })).items[0];
    expect(op).toMatchObject({
      state: 'failed',
      error: { message: expect.stringMatching(/no such command/) },
    });
    expect((await act('stop')).instance.status.state).toBe('stopped');
  });

  test('a crash restart is running with condition Restarting, and needs no operation', async () => {
    const { id, epoch } = await running();
    expect(await report(w, host, { instance: { id }, epoch, run: 1, phase: 'starting' })).toMatchObject({
      state: 'running',
    });
    const restarting = await w.store.instanceById(id);
    expect(restarting?.status).toMatchObject({ operationId: null, conditions: [{ type: 'Restarting' }] });
    await report(w, host, { instance: { id }, epoch, run: 1, phase: 'running' });
    expect((await w.store.instanceById(id))?.status.conditions).toEqual([]);
  });

  test('what keeps an instance in a transitional state is its reason, until the state is stable', async () => {
    const instance = await create(w, 'a');
    const epoch = await place(w, instance, host);
    const retrying = {
      type: 'Retrying',
      reason: 'hostFault',
      message: 'prepare: no room',
      remedy: 'make room',
    };
    await report(w, host, { instance, epoch, phase: 'preparing', conditions: [retrying] });
    const { status } = (await named('a')) ?? {};
    expect(status).toMatchObject({ state: 'provisioning', reason: 'prepare: no room' });
    expect(status?.conditions).toMatchObject([retrying]);
    await remove();
    w.clock.advance(30_000);
    await w.store.hostsSilentMark(20_000);
    expect((await named('a'))?.status).toMatchObject({
      state: 'deleting',
      reason: expect.stringMatching(/^host alpha has not reported since/),
    });
    await w.store.hostSeen(host.id, host.session);
    await report(w, host, { instance, epoch, phase: 'running' });
    expect((await named('a'))?.status).toMatchObject({ state: 'deleting', reason: null });
  });

  test('waiting keeps one decision however often it is tried, and says why', async () => {
    const instance = await create(w, 'a');
    const first = await w.store.decisionInsert(decisionFor(instance, null, w.clock.now()));
    w.clock.advance(1000);
    expect(await w.store.decisionInsert(decisionFor(instance, null, w.clock.now()))).toBe(first);
    expect(await w.store.decisionList(instance.id)).toHaveLength(1);
    expect((await w.store.decisionGet(first))?.at).toBe(w.clock.now().toISOString());
    expect((await named('a'))?.status).toMatchObject({
      state: 'pending',
      decisionId: first,
      reason: expect.stringMatching(/cpu/),
    });
  });

  test('a stale If-Match changes nothing', async () => {
    const instance = await create(w, 'a');
    const update = { projectId: w.projectId, name: 'a', labels: { tier: 'db' }, deadlineSeconds: 60 };
    const changed = await w.store.instanceUpdate(ctx, { ...update, ifMatch: instance.resourceVersion });
    expect(changed.instance).toMatchObject({ labels: { tier: 'db' }, generation: 2 });
    expect(
      await refusal(
        w.store.instanceUpdate(ctx, { ...update, labels: {}, ifMatch: instance.resourceVersion }),
      ),
    ).toBe('preconditionFailed');
    expect((await named('a'))?.labels).toEqual({ tier: 'db' });
  });
});

describe('delete', () => {
  test('what was never placed goes at once, with name and address', async () => {
    await create(w, 'a');
    const { gone, operation: op } = await remove();
    expect(gone).toBe(true);
    expect(op).toMatchObject({ kind: 'delete', state: 'succeeded' });
    expect((await create(w, 'a')).status.nics[0]?.ipv4).toBe('10.64.0.2');
  });

  test('what runs is stopped, then tombstoned, and goes when the host has acknowledged all', async () => {
    const { id, epoch } = await running();
    expect(await remove()).toMatchObject({ gone: false, hosts: [host.id] });
    expect(await refusal(create(w, 'a'))).toBe('nameTaken');
    await report(w, host, { instance: { id }, epoch, phase: 'ended' });
    const { tombstones } = (await w.store.assignmentsOffer(host.id)) ?? { tombstones: [] };
    expect(tombstones.map((t) => t.epoch ?? 'volume')).toEqual([1, 'volume']);
    const done = [];
    for (const t of tombstones) done.push(await w.store.tombstoneDone(host.id, host.session, t.id));
    expect(done).toEqual([
      { changed: true, gone: false },
      { changed: true, gone: true },
    ]);
    expect(await named('a')).toBeNull();
    expect((await w.store.hostGet('alpha'))?.used).toEqual({ cpuMillis: 0, memoryMiB: 0, diskMiB: 0 });
    expect(
      (await w.store.operationList({ projectId: w.projectId })).items.map((o) => [o.kind, o.state]),
    ).toContainEqual(['delete', 'succeeded']);
    expect(await w.store.instanceRevisions(id)).toHaveLength(1);
  });

  test('an old session cannot acknowledge a tombstone', async () => {
    const { id, epoch } = await running();
    await remove();
    await report(w, host, { instance: { id }, epoch, phase: 'ended' });
    const [tombstone] = (await w.store.assignmentsOffer(host.id))?.tombstones ?? [];
    await openSession(w.store, host.id, 'alpha');
    expect(await w.store.tombstoneDone(host.id, host.session, tombstone?.id ?? '')).toEqual({
      changed: false,
      gone: false,
    });
  });
});

describe('time and silence', () => {
  test('a deadline fails the operation, never what is observed, and a late report still counts', async () => {
    const instance = await create(w, 'a');
    const epoch = await place(w, instance, host);
    await report(w, host, { instance, epoch, phase: 'starting' });
    w.clock.advance(61_000);
    expect(await w.store.operationsExpire()).toMatchObject([{ kind: 'create', state: 'failed' }]);
    expect((await named('a'))?.status.state).toBe('starting');
    expect(await report(w, host, { instance, epoch, phase: 'running' })).toMatchObject({ state: 'running' });
    expect(await w.store.operationsExpire()).toEqual([]);
  });

  test('a silent host makes its instances unknown, and its next word brings them back', async () => {
    await running();
    w.clock.advance(30_000);
    expect(await w.store.hostsSilentMark(20_000)).toEqual([host.id]);
    expect((await named('a'))?.status).toMatchObject({
      state: 'unknown',
      conditions: [{ type: 'HostUnreachable' }],
    });
    expect(await w.store.pendingInstances(10)).toEqual([]);
    expect(await w.store.hostSeen(host.id, host.session)).toEqual({ changed: true, back: true });
    expect((await named('a'))?.status).toMatchObject({ state: 'running', conditions: [] });
  });

  test('a placement never offered to a silent host is withdrawn; an offered one is not', async () => {
    await running('offered');
    const waiting = await create(w, 'waiting');
    await w.store.placementCommit({
      instanceId: waiting.id,
      hostId: host.id,
      runGeneration: 1,
      decision: decisionFor(waiting, host, w.clock.now()),
    });
    w.clock.advance(30_000);
    await w.store.hostsSilentMark(20_000);
    expect(await w.store.placementsWithdraw()).toEqual([waiting.id]);
    expect(await w.store.pendingInstances(10)).toMatchObject([{ name: 'waiting', volumeHostId: null }]);
    expect((await named('offered'))?.status.state).toBe('unknown');
    const other = await joinHost(w, 'beta');
    expect(await place(w, waiting, other)).toBe(2);
  });

  test('a fenced boot is refused, what ran there is over, and a new boot is welcome', async () => {
    await running();
    const fence = { hostId: host.id, method: 'manual', evidence: { seen: 'powered off' } };
    expect(await refusal(w.store.fenceRecord(ctx, { ...fence, bootId: 'boot-0' }))).toBe('stateConflict');
    expect(await w.store.fenceRecord(ctx, { ...fence, bootId: 'boot-1' })).toEqual({ placementsClosed: 1 });
    expect((await named('a'))?.status.state).toBe('error');
    const again = { hostId: host.id, keyFingerprint: 'key-alpha', agentVersion: '0' };
    expect(await w.store.hostSessionOpen({ ...again, bootId: 'boot-1' })).toEqual({
      outcome: 'refused',
      reason: 'fenced',
    });
    expect(await w.store.hostSessionOpen({ ...again, bootId: 'boot-2' })).toMatchObject({ outcome: 'open' });
  });

  test('an epoch the agent refuses as too low is followed by one above what it knows', async () => {
    const instance = await create(w, 'a');
    const epoch = await place(w, instance, host);
    const refusalOfEpoch = {
      hostId: host.id,
      session: host.session,
      instanceId: instance.id,
      epoch,
      highestKnown: 7,
    };
    expect(await w.store.epochRefused(refusalOfEpoch)).toBe(true);
    expect((await named('a'))?.status.state).toBe('pending');
    expect(await place(w, instance, host)).toBe(8);
  });
});
