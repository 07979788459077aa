import type { BerthError, Instance } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { explain } from '../../apps/api/src/scheduling/explain.js';
import { placePending } from '../../apps/api/src/scheduling/place.js';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { startPostgres } from '../support/postgres.js';
import type { TestHost, World } from './fixture.js';
import { body, create, ctx, ids, joinHost, report, world } from './fixture.js';

/* Who has which port of which host: by the scheduler's word at a placement, by the request's when a spec changes. */

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
});
afterEach(() => w?.store.close());

const port = (hostPort: number, guestPort = 80, protocol: 'tcp' | 'udp' = 'tcp') => ({
  protocol,
  hostPort,
  guestPort,
});
const nicsOf = (...ports: ReturnType<typeof port>[]) => [{ network: 'default', ports }];

async function pass(): Promise<void> {
  const placed = (): void => undefined;
  await placePending({ store: w.store, strategy: 'spread', clock: w.clock, ids, placed });
}

async function instance(name: string): Promise<Instance> {
  const found = await w.store.instanceGet(w.projectId, name);
  if (found === null) throw new Error(`no instance ${name}`);
  return found;
}

async function publish(name: string, ...ports: ReturnType<typeof port>[]): Promise<Instance> {
  const { spec } = body(name, { nics: nicsOf(...ports) });
  const target = { projectId: w.projectId, name, deadlineSeconds: 60 };
  return (await w.store.instanceUpdate(ctx, { ...target, spec })).instance;
}

const hostOf = (i: Instance) => i.status.host?.name ?? null;
const failure = (work: Promise<unknown>) =>
  work.then(
    () => null,
    (e: unknown) => e as BerthError,
  );

test('the second that wants a port goes to another host, the third waits and is told why, and gets it when it is free', async () => {
  const beta = await joinHost(w, 'beta');
  for (const name of ['a', 'b', 'c']) {
    await create(w, name, { nics: nicsOf(port(8080)) });
    await pass();
  }
  const [a, b, c] = await Promise.all(['a', 'b', 'c'].map(instance));
  expect([hostOf(a as Instance), hostOf(b as Instance)].sort()).toEqual(['alpha', 'beta']);
  expect(c?.status).toMatchObject({ state: 'pending', nics: [{ ports: [] }] });
  expect(c?.status.reason).toBe('no host of 2 fits; ports: 2 (needs tcp/8080 free, best has tcp/8080 taken)');
  expect(a?.status.nics[0]?.ports).toEqual([port(8080)]);
  const { decision } = await explain({ store: w.store, strategy: 'spread' }, c as Instance, null);
  expect(decision.verdicts?.map((v) => v.failed?.message)).toEqual(
    Array.from({ length: 2 }, () => 'another instance there publishes tcp/8080'),
  );
  // What an instance has itself is not held against it.
  const own = await explain(
    { store: w.store, strategy: 'spread' },
    a as Instance,
    null,
    hostOf(a as Instance) ?? '',
  );
  expect(own.host?.fits).toBe(true);
  const holder = hostOf(a as Instance) === 'alpha' ? alpha : beta;
  await w.store.assignmentsOffer(holder.id);
  await report(w, holder, { instance: a as Instance, epoch: 1, phase: 'ended' });
  await pass();
  expect(hostOf(await instance('c'))).toBe(holder.name);
});

test('of two that are placed at the same time only one gets the port', async () => {
  await create(w, 'a', { nics: nicsOf(port(8080)) });
  await create(w, 'b', { nics: nicsOf(port(8080)) });
  await create(w, 'c', { nics: nicsOf(port(8080, 80, 'udp')) });
  await Promise.all([pass(), pass(), pass()]);
  const states = await Promise.all(
    ['a', 'b', 'c'].map(async (n) => (await instance(n)).status.host !== null),
  );
  expect(states.filter(Boolean)).toHaveLength(2);
  expect(states[2]).toBe(true);
});

test('a host hears of ports with the leases, under a higher revision, until the placement has ended', async () => {
  for (const name of ['second', 'third'])
    await w.store.networkCreate(ctx, { projectId: w.projectId, body: { name }, anyRange: false });
  const nics = (first: ReturnType<typeof port>[], third: ReturnType<typeof port>[]) => [
    { network: 'default', ports: first },
    { network: 'second' },
    { network: 'third', ports: third },
  ];
  const a = await create(w, 'a', { nics: nics([port(8080)], [port(9090, 90)]) });
  await pass();
  const [first, , third] = a.status.nics;
  const listed = async () => {
    const { networks = [] } = (await w.store.assignmentsOffer(alpha.id)) ?? {};
    return Object.fromEntries(networks.map((n) => [n.name, n.ports]));
  };
  expect(await listed()).toEqual({
    default: [{ ...port(8080), ipv4: first?.ipv4 }],
    third: [{ ...port(9090, 90), ipv4: third?.ipv4 }],
  });
  const revision = async () => (await w.store.assignmentsRead(alpha.id))?.networks[0]?.revision ?? 0;
  const before = await revision();
  const spec = { ...a.spec, nics: nics([], [port(8081)]) };
  await w.store.instanceUpdate(ctx, { projectId: w.projectId, name: 'a', spec, deadlineSeconds: 60 });
  expect(await listed()).toEqual({ third: [{ ...port(8081), ipv4: third?.ipv4 }] });
  expect(await revision()).toBeGreaterThan(before);
  await report(w, alpha, { instance: a, epoch: 1, phase: 'ended' });
  expect(await listed()).toEqual({});
  expect((await instance('a')).status.nics.flatMap((n) => n.ports)).toEqual([]);
});

test('a change that its host cannot publish is refused with its field, and nothing has changed', async () => {
  await create(w, 'a', { nics: nicsOf(port(8080)) });
  await create(w, 'b');
  await pass();
  const refusals = [
    [8080, /another instance there publishes tcp\/8080/],
    [7070, /a program of the host itself listens on tcp\/7070/],
    [80, /it publishes the ports 1024-32767/],
  ] as const;
  for (const [wanted, why] of refusals) {
    const error = await failure(publish('b', port(8081), port(wanted)));
    expect(error?.code).toBe('conflict');
    const path = '/spec/nics/0/ports/1/hostPort';
    expect(error?.options.errors).toMatchObject([{ path, message: expect.stringMatching(why) as string }]);
  }
  expect((await instance('b')).generation).toBe(1);
  expect((await publish('b', port(8080, 80, 'udp'))).status.nics[0]?.ports).toEqual([port(8080, 80, 'udp')]);
  // Its own it may keep, and give up for another to take.
  await publish('a', port(8080, 81));
  await publish('a');
  expect((await publish('b', port(8080))).status.nics[0]?.ports).toEqual([port(8080)]);
});
