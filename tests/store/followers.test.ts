import type { Event } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Follower, Ledger } from '../../apps/api/src/ledger/ledger.js';
import { startLedger } from '../../apps/api/src/ledger/sequencer.js';
import { openStore } from '../../apps/api/src/store/open.js';
import type { EventDraft, EventFilter, Store } from '../../apps/api/src/store/store.js';
import { chanceOf, dice, seedOfRun } from '../support/chance.js';
import { startPostgres, withClient, type ThrowawayPostgres } from '../support/postgres.js';
import { ctx, ids, migratedDatabase, TestClock } from './fixture.js';

/** Small, so that followers lose their place in memory all the time. */
const bounds = { events: 40, characters: 1024 * 1024, atFirst: 10 };

let cluster: ThrowawayPostgres;
let url: string;
let clock: TestClock;
let store: Store;
let ledger: Ledger;
let reads: Record<'tail' | 'backlog', number>;

beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(() => cluster.stop());
beforeEach(async () => {
  url = await migratedDatabase(cluster.url);
  clock = new TestClock();
  store = await openStore({ url, clock, ids });
  reads = { tail: 0, backlog: 0 };
  ledger = startLedger({
    store,
    every: () => () => undefined,
    onError: (e) => expect.unreachable(String(e)),
    onRead: (part) => (reads[part] += 1),
    bounds,
  });
});
afterEach(async () => {
  await ledger.close();
  await store.close();
});

const kinds = ['instance', 'host', 'token'] as const;
const classes = ['audit', 'lifecycle', 'observation'] as const;
const projects = ['p0', 'p1'] as const;

const draft = (name: string, more: Partial<EventDraft> = {}): EventDraft => ({
  class: 'lifecycle',
  type: 'test.happened',
  projectId: null,
  object: { kind: 'instance', id: name, name },
  ...more,
});
const write = (name: string, more: Partial<EventDraft> = {}) => store.eventInsert(ctx, draft(name, more));
async function writeMany(count: number): Promise<void> {
  for (let n = 0; n < count; n += 1) await write(`e${n}`);
  await ledger.flush();
}

/** What a follower gives until it is at a position. */
async function readTo(
  follower: Follower,
  end: () => number,
  rest: () => Promise<void> | void = () => {},
): Promise<Event[]> {
  const seen: Event[] = [];
  const deadline = AbortSignal.timeout(30_000);
  for (;;) {
    const told = await follower.take();
    for (const one of told) {
      expect(JSON.parse(one.json)).toEqual(one.event);
      seen.push(one.event);
    }
    await rest();
    if (told.length > 0) continue;
    if (Number(follower.position) >= end()) return seen;
    await follower.wait(deadline);
    deadline.throwIfAborted();
  }
}

/** Everything that the store's own statement chooses. */
async function chosen(after: string, filter: EventFilter): Promise<string[]> {
  const { events } = await store.eventsRead(after, 100_000, filter);
  return events.map((e) => e.position);
}

describe('followers', () => {
  const seed = seedOfRun();
  test(`get what their filter chooses, once and in order, from anywhere and at any pace (BERTH_SEED=${seed})`, async () => {
    const { below, pick } = dice(chanceOf(seed));
    const made = await Promise.all(projects.map((name) => store.projectCreate(ctx, { name })));
    let over = false;
    const random = (n: number): EventDraft =>
      draft(`o${n % 7}`, {
        class: pick(classes),
        projectId: pick([null, ...made.map((p) => p.id)]),
        object: { kind: pick(kinds), id: `o${n % 7}`, name: 'n' },
        data: { text: 'x'.repeat(below(2000)) },
      });
    const followers: Promise<void>[] = [];
    const begin = async (): Promise<void> => {
      const filter: EventFilter = {
        ...(below(2) === 0 ? {} : { project: pick(projects) }),
        ...(below(2) === 0 ? {} : { classes: [pick(classes)] }),
        ...(below(3) > 0 ? {} : { objectKind: pick(kinds) }),
        ...(below(3) > 0 ? {} : { objectId: `o${below(7)}` }),
      };
      const after = String(below(Number(ledger.head()) + 1));
      const pace = below(3);
      const rest = async (): Promise<void> => {
        // Slow ones let the writer pass them by more than the memory holds.
        for (let i = 0; i < pace * 3 && !over; i += 1) await ledger.flush();
      };
      const follower = await ledger.follow(after, filter);
      const seen = await readTo(follower, () => (over ? Number(ledger.head()) : Infinity), rest);
      // One that was already at the end need not have waited for the very last.
      const through = (await chosen(after, filter)).filter((p) => Number(p) <= Number(follower.position));
      expect(seen.map((e) => e.position)).toEqual(through);
    };
    for (let n = 0; n < 600; n += 1) {
      await store.eventInsert(ctx, random(n));
      if (n % 12 === 0) followers.push(begin());
    }
    await ledger.flush();
    over = true;
    // Wakes those who wait for one more.
    await write('last');
    await ledger.flush();
    await Promise.all(followers);
    expect(reads.backlog).toBeGreaterThan(0);
  });

  test('read the ledger once for all of them', async () => {
    const read = async (many: number): Promise<number> => {
      const before = { ...reads };
      const stop = Number(ledger.head()) + 20;
      const all = await Promise.all(Array.from({ length: many }, () => ledger.follow(null, {})));
      const seen = all.map((f) => readTo(f, () => stop));
      for (let n = 0; n < 20; n += 1) {
        await write(`e${n}`);
        await ledger.flush();
      }
      for (const events of await Promise.all(seen)) expect(events).toHaveLength(20);
      expect(reads.backlog).toBe(before.backlog);
      return reads.tail - before.tail;
    };
    await ledger.follow(null, {});
    const one = await read(1);
    const hundred = await read(100);
    // A read more or less where two numberings fell into one.
    expect(hundred).toBeLessThanOrEqual(one + 20);
    expect(hundred).toBeLessThanOrEqual(41);
  });

  test('who comes back just behind the head needs no read of its own', async () => {
    await writeMany(30);
    const first = await ledger.follow('25', {});
    expect(await readTo(first, () => 30)).toHaveLength(5);
    await writeMany(5);
    const again = await ledger.follow('30', {});
    expect(await readTo(again, () => 35)).toHaveLength(5);
    expect(reads.backlog).toBe(0);
  });

  test('nobody who follows costs no read', async () => {
    await writeMany(5);
    expect(reads).toEqual({ tail: 0, backlog: 0 });
  });

  test('what is told to listeners comes before it is told to followers', async () => {
    const follower = await ledger.follow(null, {});
    const order: string[] = [];
    const stop = ledger.onTold((told) => order.push(...told.map((t) => `listener ${t.event.object.name}`)));
    const reading = readTo(follower, () => 1).then((events) =>
      order.push(...events.map((e) => `follower ${e.object.name}`)),
    );
    await writeMany(1);
    await reading;
    stop();
    expect(order).toEqual(['listener e0', 'follower e0']);
  });

  test('the end of the ledger ends the wait', async () => {
    const follower = await ledger.follow(null, {});
    const waiting = follower.wait(new AbortController().signal);
    await ledger.close();
    await waiting;
    expect(follower.over).toBe(true);
  });
});

describe('a place that is no longer kept', () => {
  const trimAll = async (): Promise<void> => {
    clock.advance(1000);
    await store.eventsTrim(clock.now());
  };

  test('is refused at once, and audit alone may go on', async () => {
    await write('kept', { class: 'audit' });
    await writeMany(2);
    await trimAll();
    await expect(ledger.follow('1', {})).rejects.toMatchObject({
      code: 'gone',
      message: 'events up to position 3 are no longer kept',
      options: { remedy: 'list the objects again, then read on from position 3' },
    });
    const audit = await ledger.follow('0', { classes: ['audit'] });
    expect(await readTo(audit, () => 3)).toHaveLength(1);
  });

  test('a list from the beginning begins with what is kept', async () => {
    await writeMany(2);
    await trimAll();
    await write('new');
    await ledger.flush();
    const page = await ledger.read(null, 10);
    expect(page).toMatchObject({ events: [{ object: { name: 'new' } }], through: '3' });
    expect((await ledger.read(null, 10, { objectId: 'none' })).through).toBe('3');
  });

  test('ends one that is behind the memory, and none that is within it', async () => {
    const behind = await ledger.follow('0', {});
    const within = await ledger.follow('0', {});
    await writeMany(30);
    await readTo(within, () => 30);
    await writeMany(30);
    // The tail has read them once another that is within it has them.
    await readTo(await ledger.follow('30', {}), () => 60);
    await trimAll();
    expect(await readTo(within, () => 60)).toHaveLength(30);
    await expect(behind.take()).rejects.toMatchObject({ code: 'gone' });
  });

  test('a position that was never given is refused: the ledger is another one', async () => {
    await writeMany(3);
    const refusal = { code: 'gone', message: expect.stringContaining('restored from a backup') };
    await expect(ledger.follow('4', {})).rejects.toMatchObject(refusal);
    await expect(ledger.read('4', 10)).rejects.toMatchObject(refusal);
    await expect(ledger.follow('4', { classes: ['audit'] })).rejects.toMatchObject(refusal);
  });

  test('a ledger that lost its end under the process is not taken for a quiet one', async () => {
    await writeMany(5);
    const follower = await ledger.follow(null, {});
    await readTo(follower, () => 5);
    await withClient(url, (c) =>
      c.query('DELETE FROM events WHERE position > 2; UPDATE ledger_head SET position = 2'),
    );
    // As it is when the server was stopped for it.
    await withClient(url, (c) =>
      c.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'berth-ledger' AND datname = current_database()`,
      ),
    );
    const stop = AbortSignal.timeout(10_000);
    const seen = (async () => {
      for (;;) {
        await follower.take();
        await follower.wait(stop);
        stop.throwIfAborted();
      }
    })();
    await expect(seen).rejects.toMatchObject({ code: 'gone' });
  });
});
