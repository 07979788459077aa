import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Event } from '@berth/model';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Ledger } from '../../apps/api/src/ledger/ledger.js';
import { startLedger } from '../../apps/api/src/ledger/sequencer.js';
import { openStore } from '../../apps/api/src/store/open.js';
import type { EventDraft, Store } from '../../apps/api/src/store/store.js';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { databaseName, freshDatabase, postgresBin, startPostgres, withClient } from '../support/postgres.js';
import { ctx, ids, migratedDatabase, TestClock } from './fixture.js';

let cluster: ThrowawayPostgres;
let url: string;
let clock: TestClock;
let store: Store;
let ledger: Ledger;
const open: (() => Promise<void>)[] = [];

beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(() => cluster.stop());
beforeEach(async () => {
  url = await migratedDatabase(cluster.url);
  clock = new TestClock();
  ({ store, ledger } = await process_(url));
});
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

/** What one API process has: a store and a ledger. No healing timer: nothing here may need it. */
async function process_(at: string): Promise<{ store: Store; ledger: Ledger }> {
  const s = await openStore({ url: at, clock, ids });
  const l = startLedger({
    store: s,
    every: () => () => undefined,
    onError: (e) => expect.unreachable(String(e)),
  });
  open.push(
    () => s.close(),
    () => l.close(),
  );
  return { store: s, ledger: l };
}

const draft = (name: string, more: Partial<EventDraft> = {}): EventDraft => ({
  class: 'lifecycle',
  type: 'test.happened',
  projectId: null,
  object: { kind: 'instance', id: name, name },
  ...more,
});
const names = (events: readonly Event[]): string[] => events.map((e) => e.object.name);
const read = async (...args: Parameters<Ledger['read']>): Promise<Event[]> => [
  ...(await ledger.read(...args)).events,
];

/** Inserts an event on a connection that is left with its transaction open. */
async function openInsert(name: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  open.push(() => client.end());
  await client.query('BEGIN');
  await client.query(
    `INSERT INTO events (at, class, type, object_kind, object_id, object_name, actor) VALUES (now(), 'audit', 't', 'test', $1, $1, 'x')`,
    [name],
  );
  return client;
}

/** Follows the ledger until `count` events came, as an event stream does. */
async function follow(l: Ledger, cursor: string, count: number): Promise<Event[]> {
  const seen: Event[] = [];
  const deadline = AbortSignal.timeout(5_000);
  for (let at = cursor; seen.length < count; at = seen.at(-1)?.position ?? at) {
    if (!(await l.waitFor(at, deadline))) throw new Error(`only ${seen.length} of ${count} events in 5 s`);
    seen.push(...(await l.read(at, 100)).events);
  }
  return seen;
}

test('an older transaction that commits after a younger one is read by a cursor that is past the younger', async () => {
  const older = await openInsert('older');
  await store.eventInsert(ctx, draft('younger'));
  const first = await follow(ledger, '0', 1);
  expect(names(first)).toEqual(['younger']);
  await older.query('COMMIT');
  await ledger.flush();
  const [next] = await follow(ledger, first[0]?.position ?? '0', 1);
  expect(next?.object.name).toBe('older');
});

test('a younger transaction with a lower number loses nothing when many interleave', async () => {
  const clients = await Promise.all(Array.from({ length: 10 }, (_, n) => openInsert(`open${n}`)));
  const following = follow(ledger, '0', 30);
  const order = [7, 2, 9, 0, 4, 1, 8, 3, 6, 5];
  for (const n of order) {
    await store.eventInsert(ctx, draft(`before${n}`));
    await clients[n]?.query('COMMIT');
    await store.eventInsert(ctx, draft(`after${n}`));
  }
  const seen = await following;
  expect(new Set(names(seen)).size).toBe(30);
  expect(seen.map((e) => Number(e.position))).toEqual(Array.from({ length: 30 }, (_, n) => n + 1));
});

test('a reader never waits for a transaction open in another database', async () => {
  const elsewhere = new pg.Client({ connectionString: await freshDatabase(cluster.url) });
  await elsewhere.connect();
  open.push(() => elsewhere.end());
  await elsewhere.query('BEGIN');
  await elsewhere.query('CREATE TABLE held (id int)');
  await elsewhere.query('SELECT pg_current_xact_id()');
  const following = follow(ledger, '0', 1);
  await store.eventInsert(ctx, draft('seen'));
  expect(names(await following)).toEqual(['seen']);
  await elsewhere.query('ROLLBACK');
});

test('two processes share one order, and each wakes the readers of the other', async () => {
  const other = await process_(url);
  const followers = [follow(ledger, '0', 100), follow(other.ledger, '0', 100)];
  const write = (s: Store, p: string) =>
    Promise.all(Array.from({ length: 50 }, (_, n) => s.eventInsert(ctx, draft(`${p}${n}`))));
  await Promise.all([write(store, 'a'), write(other.store, 'b')]);
  const [mine, theirs] = await Promise.all(followers);
  expect(names(mine ?? [])).toEqual(names(theirs ?? []));
  expect(new Set(names(mine ?? [])).size).toBe(100);
});

test('the listening connection comes back after it was cut, and misses nothing', async () => {
  const other = await process_(url);
  const following = follow(ledger, '0', 2);
  await other.store.eventInsert(ctx, draft('before'));
  await withClient(url, (c) =>
    c.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'berth-ledger' AND datname = $1`,
      [databaseName(url)],
    ),
  );
  await other.store.eventInsert(ctx, draft('after'));
  expect(names(await following)).toEqual(['before', 'after']);
});

test('waiting ends with its signal', async () => {
  const stop = new AbortController();
  const waiting = ledger.waitFor('0', stop.signal);
  stop.abort();
  expect(await waiting).toBe(false);
});

test('trimming takes old events but never audit, and an older cursor is told so', async () => {
  await store.eventInsert(ctx, draft('kept', { class: 'audit' }));
  for (const name of ['x', 'y']) await store.eventInsert(ctx, draft(name, { class: 'observation' }));
  clock.advance(1000);
  const before = clock.now();
  await store.eventInsert(ctx, draft('new'));
  const head = await ledger.flush();
  expect(await store.eventsTrim(before)).toBe(2);
  await expect(ledger.read('2', 10)).rejects.toMatchObject({ code: 'gone' });
  expect(names(await read('3', 10))).toEqual(['new']);
  expect(names(await read('0', 10, { classes: ['audit'] }))).toEqual(['kept']);
  expect(ledger.head()).toBe(head);
});

test('filters by project, class and object choose rows and keep their order', async () => {
  const { id } = await store.projectCreate(ctx, { name: 'p' });
  await store.eventInsert(ctx, draft('a', { projectId: id }));
  await store.eventInsert(ctx, draft('b', { class: 'audit' }));
  await ledger.flush();
  expect((await read('0', 10, { project: 'p' })).map((e) => e.type)).toEqual([
    'project.created',
    'test.happened',
  ]);
  expect(names(await read('0', 10, { classes: ['lifecycle'] }))).toEqual(['a']);
  expect(names(await read('0', 10, { objectId: 'b' }))).toEqual(['b']);
});

test('a saved cursor goes on after dump and restore into a new cluster, under a new incarnation', async () => {
  for (const name of ['one', 'two', 'three']) await store.eventInsert(ctx, draft(name));
  await ledger.flush();
  const [, second] = await read('0', 2);
  const cursor = second?.position ?? '';
  const incarnation = await store.storeIncarnation();
  const restored = await startPostgres();
  try {
    const target = await freshDatabase(restored.url);
    const file = join(restored.dir, 'dump');
    const run = promisify(execFile);
    await run(join(postgresBin, 'pg_dump'), ['-Fc', '-f', file, `--dbname=${url}`]);
    await run(join(postgresBin, 'pg_restore'), ['--no-owner', `--dbname=${target}`, file]);
    const there = await process_(target);
    await there.store.eventInsert(ctx, draft('four'));
    expect(names(await follow(there.ledger, cursor, 2))).toEqual(['three', 'four']);
    expect(await there.store.storeIncarnation()).not.toBe(incarnation);
    for (const close of open.splice(2).reverse()) await close();
  } finally {
    await restored.stop();
  }
});
