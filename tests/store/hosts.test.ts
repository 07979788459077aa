import { BerthError } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { startPostgres, withClient } from '../support/postgres.js';
import type { TestHost, World } from './fixture.js';
import { create, ctx, decisionFor, joinHost, openSession, place, report, world } from './fixture.js';

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

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'no refusal',
    (e: unknown) => (e instanceof BerthError ? e.code : String(e)),
  );
async function audit(): Promise<string[]> {
  await w.store.eventsNumber();
  const { events } = await w.store.eventsRead('0', 1000, { classes: ['audit'] });
  return events.map((e) => e.type);
}

describe('a host that is updated', () => {
  test('keeps what was not named, moves its version, and is in the audit', async () => {
    const labelled = await w.store.hostUpdate(ctx, 'alpha', { labels: { zone: 'a' } });
    const closed = await w.store.hostUpdate(ctx, 'alpha', { schedulable: false });
    expect(closed).toMatchObject({ labels: { zone: 'a' }, schedulable: false });
    expect(closed.resourceVersion).toBeGreaterThan(labelled.resourceVersion);
    expect((await audit()).filter((type) => type === 'host.updated')).toHaveLength(2);
  });

  test('takes no placement while it is not schedulable, and keeps those it has', async () => {
    await place(w, await create(w, 'there'), host);
    const late = await create(w, 'late');
    await w.store.hostUpdate(ctx, 'alpha', { schedulable: false });
    const decision = decisionFor(late, host, w.clock.now());
    const commit = { instanceId: late.id, hostId: host.id, runGeneration: 1, decision };
    expect(await w.store.placementCommit(commit)).toMatchObject({ outcome: 'full' });
    expect((await w.store.assignmentsOffer(host.id))?.assignments.map((a) => a.wanted)).toEqual(['running']);
  });

  test('on a version that has moved, or that is not there, changes nothing', async () => {
    const { resourceVersion: ifMatch = 0 } = (await w.store.hostGet('alpha')) ?? {};
    await w.store.hostUpdate(ctx, 'alpha', { labels: { zone: 'a' }, ifMatch });
    const stale = w.store.hostUpdate(ctx, 'alpha', { labels: {}, ifMatch });
    expect(await codeOf(stale)).toBe('preconditionFailed');
    expect(await codeOf(w.store.hostUpdate(ctx, 'nobody', {}))).toBe('notFound');
    expect((await w.store.hostGet('alpha'))?.labels).toEqual({ zone: 'a' });
  });
});

describe('a host that is revoked', () => {
  test('is admitted no more, gets no session and no placement; what runs there is not said to have ended', async () => {
    const there = await create(w, 'there');
    const epoch = await place(w, there, host);
    await report(w, host, { instance: there, epoch, phase: 'running' });
    const late = await create(w, 'late');
    expect(await w.store.hostRevoke(ctx, 'alpha')).toMatchObject({ state: 'silent' });
    expect(await w.store.hostAdmit(host.id, 'key-alpha')).toBe('revoked');
    await expect(openSession(w.store, host.id, 'alpha')).rejects.toThrow(/revoked/);
    const decision = decisionFor(late, host, w.clock.now());
    const commit = { instanceId: late.id, hostId: host.id, runGeneration: 1, decision };
    expect(await w.store.placementCommit(commit)).toMatchObject({ outcome: 'full' });
    expect((await w.store.instanceById(there.id))?.status.phase).toBe('running');
    expect(await audit()).toContain('host.revoked');
    expect(await codeOf(w.store.hostRevoke(ctx, 'nobody'))).toBe('notFound');
  });
});

describe('a host that is removed', () => {
  test('must hold nothing: neither what runs nor the disk of what has stopped', async () => {
    const instance = await create(w, 'a');
    const epoch = await place(w, instance, host);
    expect(await codeOf(w.store.hostRemove(ctx, 'alpha'))).toBe('inUse');
    await report(w, host, { instance, epoch, phase: 'ended' });
    expect(await codeOf(w.store.hostRemove(ctx, 'alpha'))).toBe('inUse');
    expect(await w.store.hostGet('alpha')).not.toBeNull();
  });

  test('is gone with its capacity and its images, and its name is free for another machine', async () => {
    await w.store.hostImagesSet(host.id, host.session, ['sha256:1' as never]);
    await w.store.hostRemove(ctx, 'alpha');
    expect([await w.store.hostGet('alpha'), await w.store.hostById(host.id)]).toEqual([null, null]);
    expect(await w.store.hostAdmit(host.id, 'key-alpha')).toBe('unknown');
    expect(await w.store.assignmentsOffer(host.id)).toBeNull();
    expect(await w.store.hostSeen(host.id, host.session)).toEqual({ changed: false, back: false });
    expect((await joinHost(w, 'alpha')).id).not.toBe(host.id);
    expect(await audit()).toContain('host.removed');
    expect(await codeOf(w.store.hostRemove(ctx, 'nobody'))).toBe('notFound');
  });
});

test('of many sessions the newest few are kept for each host, and the one that is open works on', async () => {
  const beta = await joinHost(w, 'beta');
  const opened = [host.session];
  for (let n = 0; n < 6; n += 1) opened.push(await openSession(w.store, host.id, 'alpha'));
  expect(await w.store.hostSessionsTrim(3)).toBe(4);
  expect(await w.store.hostSessionsTrim(3)).toBe(0);
  const { rows } = await withClient(w.url, (client) =>
    client.query<{ host_id: string; session: string }>(
      'SELECT host_id, session FROM host_sessions ORDER BY host_id = $1, session',
      [beta.id],
    ),
  );
  const left = rows.map((r) => [r.host_id, Number(r.session)]);
  expect(left).toEqual([...opened.slice(-3).map((session) => [host.id, session]), [beta.id, beta.session]]);
  expect(await w.store.hostSeen(host.id, opened.at(-1) ?? 0)).toEqual({ changed: true, back: false });
});

test('a revoked token is found no more, and can be revoked once', async () => {
  const token = {
    name: 't',
    hash: 'ab'.repeat(32),
    projectId: null,
    role: 'admin' as const,
    expiresAt: null,
  };
  const { id } = await w.store.tokenCreate(ctx, token);
  expect(await w.store.tokenFindByHash(token.hash)).toMatchObject({ id, role: 'admin' });
  expect(await w.store.tokenRevoke(ctx, id)).toBe(true);
  expect(await w.store.tokenFindByHash(token.hash)).toBeNull();
  expect(await w.store.tokenRevoke(ctx, id)).toBe(false);
  expect((await audit()).filter((type) => type === 'token.revoked')).toHaveLength(1);
  const [listed] = await w.store.tokenList(null);
  expect(listed).toMatchObject({ id, revokedAt: w.clock.now() });
});
