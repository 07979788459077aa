import type { BerthError, HostNetworkSpec } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { openStore } from '../../apps/api/src/store/open.js';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { startPostgres, withClient } from '../support/postgres.js';
import type { TestHost, World } from './fixture.js';
import { capabilities, create, ctx, decisionFor, ids, joinHost, place, report, world } from './fixture.js';

/*
 * Networks as objects, and what a host is told of its own. It takes leases away only where the revision rose, so every change of the
 * leases must come with a higher one.
 */

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

async function network(): Promise<{ names: string[]; revision: number } | null> {
  const list = await w.store.assignmentsOffer(host.id);
  expect(list?.networks.length).toBeLessThan(2);
  const [spec]: readonly HostNetworkSpec[] = list?.networks ?? [];
  return spec === undefined
    ? null
    : { names: spec.leases.map((l) => l.name), revision: spec.revision ?? Number.NaN };
}

/** Does something and expects other names, under a higher revision. */
async function becomes(names: string[], change: () => Promise<unknown>): Promise<void> {
  const before = await network();
  await change();
  const after = await network();
  expect(after?.names).toEqual(names);
  expect(after?.revision).toBeGreaterThan(before?.revision ?? -1);
}

const remove = (name: string) =>
  w.store.instanceDelete(ctx, { projectId: w.projectId, name, deadlineSeconds: 60 });

const made = (name: string, cidr?: string, projectId = w.projectId) =>
  w.store.networkCreate(ctx, {
    projectId,
    body: { name, ...(cidr === undefined ? {} : { cidr }) },
    anyRange: true,
  });
const gone = (name: string) => w.store.networkDelete(ctx, { projectId: w.projectId, name });
/** The host says that it changes nics of what runs. */
const able = () =>
  w.store.hostCapabilitiesSet(
    host.id,
    host.session,
    { ...capabilities, facets: ['nics'] },
    { cpuMillis: 4000, memoryMiB: 4096, diskMiB: 100_000 },
  );
const failure = (work: Promise<unknown>) =>
  work.then(
    () => null,
    (e: unknown) => e as BerthError,
  );

test('each network gets the lowest free /24, also beside those that were asked for, and never another one twice', async () => {
  const { cidr } = (await w.store.networkGet(w.projectId, 'default')) ?? {};
  expect(cidr).toBe('10.64.0.0/24');
  expect(await made('b')).toMatchObject({ cidr: '10.64.1.0/24', gateway: '10.64.1.1', scope: 'host' });
  await made('asked', '10.64.2.0/23');
  const names = ['c', 'd', 'e', 'f'];
  const several = await Promise.all(names.map((name) => made(name)));
  expect(several.map((n) => n.cidr).sort()).toEqual([4, 5, 6, 7].map((n) => `10.64.${n}.0/24`));
  await gone('b');
  expect((await made('again')).cidr).toBe('10.64.1.0/24');
  expect((await made('apart', '172.31.255.248/29')).gateway).toBe('172.31.255.249');
  const listed = await w.store.networkList(w.projectId);
  expect(listed.map((n) => n.name)).toEqual(['again', 'apart', 'asked', 'c', 'd', 'default', 'e', 'f']);
});

test('hosts hear what may pass a nic, under a higher revision when it changes while the instance runs, and of no limits nothing', async () => {
  const limits = { ingressMbps: 100, egressMbps: 20 };
  const instance = await create(w, 'a', { nics: [{ network: 'default', limits }] });
  await place(w, instance, host);
  const told = async () => {
    const [spec] = (await w.store.assignmentsOffer(host.id))?.networks ?? [];
    return { revision: spec?.revision ?? Number.NaN, limits: spec?.leases[0]?.limits };
  };
  const first = await told();
  expect(first.limits).toEqual(limits);
  let { revision } = first;
  for (const [wanted, heard] of [
    [{ egressMbps: 1 }, { egressMbps: 1 }],
    [{}, undefined],
  ] as const) {
    const nics = [{ network: 'default', limits: wanted }];
    const spec = { ...instance.spec, nics };
    await w.store.instanceUpdate(ctx, { projectId: w.projectId, name: 'a', spec, deadlineSeconds: 60 });
    const next = await told();
    expect(next.limits).toEqual(heard);
    expect(next.revision).toBeGreaterThan(revision);
    revision = next.revision;
  }
});

test('an internal network is told to hosts as one, and others are not', async () => {
  const body = { name: 'vault', internal: true };
  await w.store.networkCreate(ctx, { projectId: w.projectId, body, anyRange: false });
  expect((await w.store.networkGet(w.projectId, 'vault'))?.internal).toBe(true);
  expect((await w.store.networkGet(w.projectId, 'default'))?.internal).toBe(false);
  await place(w, await create(w, 'a', { nics: [{ network: 'default' }, { network: 'vault' }] }), host);
  const told = (await w.store.assignmentsOffer(host.id))?.networks ?? [];
  expect(new Map(told.map((n) => [n.name, 'internal' in n && n.internal]))).toEqual(
    new Map([
      ['default', false],
      ['vault', true],
    ]),
  );
});

test('a subnet that overlaps another is refused by the field, and of other projects nothing but that is told', async () => {
  const { id: other } = await w.store.projectCreate(ctx, { name: 'secretive' });
  await made('hidden', '10.9.0.0/16', other);
  await made('own', '10.8.0.0/24');
  for (const [cidr, words] of [
    ['10.8.0.128/25', 'network "own" (10.8.0.0/24)'],
    ['10.8.0.0/16', 'network "own" (10.8.0.0/24)'],
    ['10.9.3.0/24', 'a network of another project'],
  ] as const) {
    const error = await failure(made('late', cidr));
    expect(error).toMatchObject({ code: 'conflict', publicMessage: `cidr ${cidr} overlaps ${words}` });
    expect(error?.options.errors).toEqual([expect.objectContaining({ path: '/cidr', code: 'conflict' })]);
    expect(error?.options.remedy).toContain('leave cidr out');
  }
  const both = await Promise.all(['x', 'y'].map((name) => failure(made(name, '10.7.0.0/24'))));
  expect(both.map((e) => e?.code).sort()).toEqual(['conflict', undefined]);
  expect(await failure(made('own'))).toMatchObject({ code: 'nameTaken' });
  expect((await made('own', undefined, other)).project).toBe('secretive');
});

test('a network goes when no instance has a nic on it; one that comes meanwhile finds it, or finds it gone', async () => {
  await made('back');
  const nics = [{ network: 'default' }, { network: 'back' }];
  const names = ['a', 'b', 'c', 'd', 'e', 'f'];
  for (const name of names) await create(w, name, { nics, desired: 'stopped' });
  const error = await failure(gone('back'));
  expect(error).toMatchObject({
    code: 'inUse',
    publicMessage: 'network "back" has nics of instances: "a", "b", "c", "d", "e" and 1 more',
  });
  expect(error?.options.remedy).toContain('delete these instances');
  for (const name of names) await remove(name);
  expect(
    await failure(w.store.networkDelete(ctx, { projectId: w.projectId, name: 'back', ifMatch: 2 })),
  ).toMatchObject({ code: 'preconditionFailed' });
  const [deleted, late] = await Promise.all([
    failure(gone('back')),
    failure(create(w, 'late', { nics, desired: 'stopped' })),
  ]);
  expect([deleted?.code, late?.code].filter((code) => code !== undefined)).toEqual([
    late === null ? 'inUse' : 'invalid',
  ]);
  if (late !== null) expect(late.publicMessage).toContain('spec.nics.1.network names no network');
  expect(await failure(gone('nowhere'))).toMatchObject({ code: 'notFound' });
  const { events } = await w.store.eventsNumber().then(() => w.store.eventsRead(null, 1000));
  expect(events.filter((e) => e.object.kind === 'network').map((e) => e.type)).toContain('network.created');
});

test('an instance has an address on each of its networks, and hosts are told which are not its first', async () => {
  await made('back', '192.168.9.0/29');
  const nics = [{ network: 'back' }, { network: 'default' }];
  const a = await create(w, 'a', { nics });
  expect(a.status.nics).toMatchObject([
    { network: 'back', ipv4: '192.168.9.2' },
    { network: 'default', ipv4: '10.64.0.2' },
  ]);
  await place(w, a, host);
  await place(w, await create(w, 'b'), host);
  const list = await w.store.assignmentsOffer(host.id);
  const leases = (list?.networks ?? []).map((n) => [n.name, n.leases.map((l) => [l.name, l.secondary])]);
  expect(Object.fromEntries(leases)).toEqual({
    back: [['a', undefined]],
    default: [
      ['a', true],
      ['b', undefined],
    ],
  });
  expect(list?.assignments.find((x) => x.instanceId === a.id)?.nics.map((n) => n.ipv4)).toEqual([
    '192.168.9.2',
    '10.64.0.2',
  ]);
  // Eight addresses but for its own, the gateway's and broadcast.
  for (const name of ['c', 'd', 'e', 'f']) await create(w, name, { nics: [{ network: 'back' }] });
  expect(await failure(create(w, 'g', { nics: [{ network: 'back' }] }))).toMatchObject({
    code: 'unavailable',
  });
});

test('an address that is asked for is given for life, and refused by the field where it cannot be', async () => {
  await made('back', '192.168.9.0/28');
  const at = (name: string, address: string) =>
    create(w, name, { nics: [{ network: 'default' }, { network: 'back', address }] });
  const a = await at('a', '192.168.9.5');
  expect(a.status.nics.map((n) => n.ipv4)).toEqual(['10.64.0.2', '192.168.9.5']);
  const refusal = async (name: string, address: string) => {
    const error = await failure(at(name, address));
    return [error?.code, error?.options.errors?.[0]?.path, error?.publicMessage];
  };
  for (const address of ['192.168.9.0', '192.168.9.1', '192.168.9.15', '192.168.9.16', '10.64.0.9'])
    expect(await refusal('b', address)).toEqual([
      'invalid',
      '/spec/nics/1/address',
      'spec.nics.1.address must be one of 192.168.9.2 to 192.168.9.14 on network "back" (192.168.9.0/28)',
    ]);
  const belongs = ['conflict', '/spec/nics/1/address', '192.168.9.5 belongs to instance "a"'];
  expect(await refusal('b', '192.168.9.5')).toEqual(belongs);
  // What was refused left nothing, also of its other nics.
  expect((await at('b', '192.168.9.14')).status.nics.map((n) => n.ipv4)).toEqual([
    '10.64.0.3',
    '192.168.9.14',
  ]);
  const both = await Promise.all(['x', 'y'].map((name) => failure(at(name, '192.168.9.7'))));
  expect(both.map((e) => e?.code).sort()).toEqual(['conflict', undefined]);
  // The lowest free ones are those that nobody asked for.
  for (const [i, last] of [2, 3, 4, 6, 8].entries())
    expect((await create(w, `auto-${i}`, { nics: [{ network: 'back' }] })).status.nics[0]?.ipv4).toBe(
      `192.168.9.${last}`,
    );
  await place(w, a, host);
  const lease = (await w.store.assignmentsOffer(host.id))?.networks.find((n) => n.name === 'back')?.leases;
  expect(lease).toMatchObject([{ name: 'a', ipv4: '192.168.9.5', mac: a.status.nics[1]?.mac }]);
  await remove('b');
  expect((await at('again', '192.168.9.14')).status.nics[1]?.ipv4).toBe('192.168.9.14');
});

test('a subnet beside the supernet is for who administers the cluster', async () => {
  const chosen = (cidr: string) =>
    w.store.networkCreate(ctx, { projectId: w.projectId, body: { name: 'x', cidr }, anyRange: false });
  for (const cidr of ['10.63.0.0/16', '192.168.1.0/24']) {
    const error = await failure(chosen(cidr));
    expect(error).toMatchObject({ code: 'forbidden', options: { errors: [{ path: '/cidr' }] } });
    expect(error?.options.remedy).toContain('choose one in 10.64.0.0/12');
  }
  expect((await chosen('10.79.0.0/16')).gateway).toBe('10.79.0.1');
});

test('nics come, go and trade places while no host has the instance; what stays keeps MAC and address', async () => {
  await made('back');
  await made('side');
  const a = await create(w, 'a', { nics: [{ network: 'default' }, { network: 'back' }] });
  const on = async (...places: (string | [network: string, address: string])[]) => {
    const nics = places.map((place) =>
      typeof place === 'string' ? { network: place } : { network: place[0], address: place[1] },
    );
    const spec = { ...a.spec, nics };
    const at = { projectId: w.projectId, name: 'a', deadlineSeconds: 60 };
    return (await w.store.instanceUpdate(ctx, { ...at, spec })).instance.status.nics;
  };
  const [first, second] = a.status.nics;
  expect(await on('back', 'default')).toMatchObject([second, first]);
  const three = await on('side', 'back', 'default');
  expect(three).toMatchObject([{ network: 'side', ipv4: '10.64.2.2' }, second, first]);
  expect(await on('back')).toMatchObject([second]);
  expect(await failure(gone('default'))).toBeNull();
  expect(await failure(on('back', 'nowhere'))).toMatchObject({ code: 'invalid' });
  expect(await on('back', 'side')).toMatchObject([second, { network: 'side', ipv4: '10.64.2.2' }]);
  // Another address, the same nic; one that is asked for no more stays.
  expect(await on(['back', '10.64.1.77'])).toMatchObject([{ ...second, ipv4: '10.64.1.77' }]);
  expect(await on('back')).toMatchObject([{ ...second, ipv4: '10.64.1.77' }]);
  expect(await failure(on(['back', '10.64.2.77']))).toMatchObject({ code: 'invalid' });

  await place(w, a, host);
  const named = [
    [() => on('side'), ['/spec/nics/0/network']],
    [() => on(['back', '10.64.1.78']), ['/spec/nics/0/address']],
    [() => on(['side', '10.64.2.3']), ['/spec/nics/0/address', '/spec/nics/0/network']],
    [() => on('back', 'side'), ['/spec/nics']],
  ] as const;
  for (const [change, paths] of named) {
    const remedy = expect.stringContaining('stop it') as string;
    const errors = paths.map((path) => ({ path, code: 'stateConflict', remedy }));
    expect(await failure(change())).toMatchObject({ code: 'stateConflict', options: { remedy, errors } });
  }
  await report(w, host, { instance: a, epoch: 1, phase: 'ended' });
  expect(await on()).toEqual([]);
});

test('a nic that a machine which runs is to lose keeps its address, groups and lease until its host says it is gone', async () => {
  await made('back');
  await made('side');
  const limits = { egressMbps: 5 };
  const vm = { isolation: 'vm', image: 'debian', memoryMiB: 64, rootDisk: { sizeMiB: 64 } } as const;
  const a = await create(w, 'a', { ...vm, nics: [{ network: 'default' }, { network: 'back', limits }] });
  await place(w, a, host);
  const at = { projectId: w.projectId, name: 'a', deadlineSeconds: 60 };
  const on = async (...names: string[]) => {
    const nics = names.map((network) => ({ network }));
    const spec = { ...((await w.store.instanceGet(w.projectId, 'a')) ?? a).spec, nics };
    return (await w.store.instanceUpdate(ctx, { ...at, spec })).instance;
  };
  // A host whose agent is older would never do it.
  const older = await failure(on('default'));
  expect(older).toMatchObject({ code: 'unsupported', options: { errors: [{ path: '/spec/nics' }] } });
  await able();
  const listed = async () => {
    const list = await w.store.assignmentsOffer(host.id);
    return {
      nics: list?.assignments[0]?.nics.map((n) => n.ipv4),
      leases: list?.networks.flatMap((n) => n.leases).map((l) => [l.ipv4, l.limits]),
    };
  };
  const [first, second] = a.status.nics;
  expect((await on('default', 'side')).status.nics).toMatchObject([
    first,
    { network: 'side', ipv4: '10.64.2.2' },
    { ...second, leaving: true },
  ]);
  expect(await listed()).toEqual({
    nics: ['10.64.0.2', '10.64.2.2'],
    leases: expect.arrayContaining([
      ['10.64.0.2', undefined],
      ['10.64.1.2', limits],
      ['10.64.2.2', undefined],
    ]),
  });
  // Its address is nobody else's, its network stays, and it cannot come back before it went.
  expect((await create(w, 'b', { nics: [{ network: 'back' }] })).status.nics[0]?.ipv4).toBe('10.64.1.3');
  expect(await failure(on('default', 'back'))).toMatchObject({
    code: 'stateConflict',
    options: { errors: [{ path: '/spec/nics/1/network' }] },
  });
  const places = [{ path: '/spec/nics/0' }, { path: '/spec/nics/1' }];
  expect(await failure(on('side', 'default'))).toMatchObject({ options: { errors: places } });
  const { generation, status } = (await w.store.instanceGet(w.projectId, 'a')) ?? a;
  const had = status.nics.map(({ id }) => id);
  const says = (nics: typeof had, revision = generation) =>
    report(w, host, { instance: a, epoch: 1, phase: 'running', power: 'running', revision, nics });
  await says(had, generation - 1);
  const suspend = () => w.store.instanceAct(ctx, { ...at, verb: 'suspend' });
  const still = await failure(suspend());
  expect([still?.code, still?.message]).toEqual(['stateConflict', expect.stringContaining('network "back"')]);
  for (const say of [() => says(had), () => says(had.slice(0, 2), generation - 1)]) {
    await say();
    expect((await w.store.instanceGet(w.projectId, 'a'))?.status.nics).toHaveLength(3);
  }
  expect(await says(had.slice(0, 2))).toMatchObject({ assignmentsChanged: true });
  expect((await w.store.instanceGet(w.projectId, 'a'))?.status.nics).toHaveLength(2);
  expect((await listed()).leases).not.toContainEqual(['10.64.1.2', limits]);
  expect((await create(w, 'c', { nics: [{ network: 'back' }] })).status.nics[0]?.ipv4).toBe('10.64.1.2');
  // What is suspended, or about to be, comes back with what it had.
  await suspend();
  expect(await failure(on('default'))).toMatchObject({
    code: 'stateConflict',
    options: { errors: [{ path: '/spec/nics' }], remedy: expect.stringContaining('resume') as string },
  });
});

test('a nic that was to go is gone with the run it was part of', async () => {
  await made('back');
  const vm = { isolation: 'vm', image: 'debian', memoryMiB: 64, rootDisk: { sizeMiB: 64 } } as const;
  const a = await create(w, 'a', { ...vm, nics: [{ network: 'default' }, { network: 'back' }] });
  await place(w, a, host);
  await able();
  const spec = { ...a.spec, nics: [{ network: 'default' }] };
  const at = { projectId: w.projectId, name: 'a', deadlineSeconds: 60 };
  const { instance } = await w.store.instanceUpdate(ctx, { ...at, spec });
  expect(instance.status.nics.map((n) => n.leaving)).toEqual([undefined, true]);
  expect(await failure(gone('back'))).toMatchObject({ code: 'inUse' });
  await report(w, host, { instance: a, epoch: 1, phase: 'ended' });
  expect((await w.store.instanceGet(w.projectId, 'a'))?.status.nics).toHaveLength(1);
  expect(await failure(gone('back'))).toBeNull();
});

test('each instance that comes or ends changes the leases under a higher revision', async () => {
  const a = await create(w, 'a');
  const b = await create(w, 'b');
  expect(await network()).toBeNull();
  await becomes(['a'], () => place(w, a, host));
  await becomes(['a', 'b'], () => place(w, b, host));
  await becomes(['b'], () => report(w, host, { instance: a, epoch: 1, phase: 'ended' }));
  const refusal = { hostId: host.id, session: host.session, instanceId: b.id, epoch: 1, highestKnown: 3 };
  await becomes([], () => w.store.epochRefused(refusal));
});

test('the last word on a deleted instance raises the revision, and the host loses its name and its network', async () => {
  const a = await create(w, 'a');
  const stopped = await create(w, 'stopped');
  for (const instance of [a, stopped]) await place(w, instance, host);
  await report(w, host, { instance: stopped, epoch: 1, phase: 'ended' });
  await remove('a');
  await becomes([], () => report(w, host, { instance: a, epoch: 1, phase: 'ended' }));
  await becomes([], async () => {
    for (const t of (await w.store.assignmentsRead(host.id))?.tombstones ?? [])
      await w.store.tombstoneDone(host.id, host.session, t.id);
  });
  expect(await w.store.instanceGet(w.projectId, 'a')).toBeNull();
  const { assignmentRev = 0 } = (await w.store.assignmentsRead(host.id)) ?? {};
  await remove('stopped');
  for (const t of (await w.store.assignmentsRead(host.id))?.tombstones ?? [])
    await w.store.tombstoneDone(host.id, host.session, t.id);
  expect(await network()).toBeNull();
  expect((await w.store.assignmentsRead(host.id))?.assignmentRev).toBeGreaterThan(assignmentRev);
});

test('a fence takes the leases of what ran there', async () => {
  await place(w, await create(w, 'a'), host);
  await becomes([], () =>
    w.store.fenceRecord(ctx, { hostId: host.id, bootId: 'boot-1', method: 'manual', evidence: {} }),
  );
});

test('a lease is never told before its assignment', async () => {
  await place(w, await create(w, 'a'), host);
  const late = await create(w, 'late');
  const decision = decisionFor(late, host, w.clock.now());
  await w.store.placementCommit({ instanceId: late.id, hostId: host.id, runGeneration: 1, decision });
  const read = await w.store.assignmentsRead(host.id);
  expect(read?.networks[0]?.leases.map((l) => l.name)).toEqual(['a', 'late']);
  await remove('late');
  expect((await network())?.names).toEqual(['a']);
});

test('a restored database has lower list revisions, but its leases are newer', async () => {
  await place(w, await create(w, 'a'), host);
  const before = await network();
  // What a dump restored into another cluster looks like: an older list in a home that is not this one.
  await withClient(w.url, (client) =>
    client.query(`UPDATE hosts SET assignment_rev = 0;
      UPDATE meta SET value = jsonb_set(value, '{home}', '"elsewhere"') WHERE key = 'incarnation'`),
  );
  w.clock.advance(3_600_000);
  await w.store.close();
  w = { ...w, store: await openStore({ url: w.url, clock: w.clock, ids }) };
  const after = await network();
  expect(after?.names).toEqual(['a']);
  expect(after?.revision).toBeGreaterThan(before?.revision ?? Number.NaN);
});
