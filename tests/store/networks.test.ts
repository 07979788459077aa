import type { HostNetworkSpec } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { openStore } from '../../apps/api/src/store/open.js';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { startPostgres, withClient } from '../support/postgres.js';
import type { TestHost, World } from './fixture.js';
import { create, ctx, decisionFor, ids, joinHost, place, report, world } from './fixture.js';

/*
 * What a host is told of its networks. It takes leases away only where the revision rose, so every change of the
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
