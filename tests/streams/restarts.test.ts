import type { Event, EventClass, EventObjectKind, ProjectId } from '@berth/model';
import { answer, type BerthClient } from '@berth/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { EventFilter, Store } from '../../apps/api/src/store/store.js';
import { patience, until } from '../e2e/berth.js';
import { type ApiOnPostgres, apiOnPostgres, type ApiProcess } from '../support/api-process.js';
import { chanceOf, dice, seedOfRun } from '../support/chance.js';

/*
 * The ledger grows by two writers: the store's own one (`eventInsert`, a transaction each, ten at a time, in this process, which
 * numbers nothing), and creates over REST, which the client repeats when the API dies under them. Positions are given by the
 * API processes alone, so their kills also meet numbering that is under way.
 */

const restarts = 20;
const written = 10_000;

let lab: ApiOnPostgres;
let store: Store;
let api: ApiProcess;
beforeAll(async () => {
  lab = await apiOnPostgres();
  ({ api, store } = lab);
}, 60_000);
afterAll(() => lab.stop(), 60_000);

type Filter = {
  project?: string;
  class?: EventClass;
  objectKind?: EventObjectKind;
  objectId?: string;
};

/** One client of the stream, and what it saw. */
class Watcher {
  readonly seen: Event[] = [];
  private readonly stop = new AbortController();
  private following: Promise<void> = Promise.resolve();
  connections = 0;

  constructor(
    readonly name: string,
    private readonly client: () => BerthClient,
    readonly filter: Filter,
    /** Called after each event: whether to leave this connection and come again by Last-Event-ID. */
    private readonly after: (n: number) => Promise<'leave' | 'stay'> | 'leave' | 'stay',
    /** What its token narrows the filter to. */
    private readonly bound: string | undefined = undefined,
  ) {}

  begin(): void {
    this.following = this.follow();
    this.following.catch(() => undefined);
  }
  async end(): Promise<void> {
    this.stop.abort();
    await this.following;
  }

  private async follow(): Promise<void> {
    const { signal } = this.stop;
    const connected = (): void => void (this.connections += 1);
    while (!signal.aborted) {
      const after = this.seen.at(-1)?.position ?? '0';
      for await (const event of this.client().events({
        ...this.filter,
        after,
        signal,
        connected,
        backoffMs: [20, 50, 100],
      })) {
        this.seen.push(event);
        if ((await this.after(this.seen.length)) === 'leave') break;
      }
    }
  }

  /** The positions of all that it was to see. */
  async expected(): Promise<string[]> {
    const { project = this.bound, class: ofClass, ...object } = this.filter;
    const filter: EventFilter = {
      ...(project === undefined ? {} : { project }),
      ...(ofClass === undefined ? {} : { classes: [ofClass] }),
      ...object,
    };
    return (await store.eventsRead('0', 100_000, filter)).events.map((e) => e.position);
  }
}

const rest = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Clients of every filter; some are slow, some leave and come again when it pleases them. */
function watchersOf(token: string, boundToBeta: string, below: (n: number) => number): Watcher[] {
  const every = (): BerthClient => api.client(token);
  const stay = (): 'stay' => 'stay';
  const slowBy = (events: number, ms: number) => async (n: number) => {
    if (n % events === 0) await rest(ms);
    return 'stay' as const;
  };
  const comesAndGoes = (): 'leave' | 'stay' => (below(300) === 0 ? 'leave' : 'stay');
  return [
    new Watcher('all', every, {}, stay),
    new Watcher('project', every, { project: 'alpha' }, stay),
    new Watcher('class', every, { class: 'audit' }, stay),
    new Watcher('kind', every, { objectKind: 'host' }, stay),
    new Watcher('object', every, { objectKind: 'instance', objectId: 'object-3' }, stay),
    new Watcher('bound token', () => api.client(boundToBeta), {}, stay, 'beta'),
    new Watcher('slow', every, {}, slowBy(1000, 1000)),
    new Watcher('slow, of a project', every, { project: 'beta' }, slowBy(100, 200)),
    ...[1, 2].map((n) => new Watcher(`comes and goes ${n}`, every, {}, comesAndGoes)),
  ];
}

/** Both writers. They keep step with the restarts, so that the last events meet the last restart. */
class Writers {
  restarted = 0;
  next = 0;
  over = false;
  /** Ids of the tokens that were made over REST, as their answers say. */
  readonly created: string[] = [];
  private readonly projects: (ProjectId | null)[] = [null];

  constructor(private readonly chances: ReturnType<typeof dice>) {}

  async begin(admin: BerthClient): Promise<{ inserted: Promise<unknown>; created: Promise<void> }> {
    for (const name of ['alpha', 'beta']) {
      await answer(admin.rest.POST('/v1/projects', { body: { name } }));
      this.projects.push((await store.projectGet(name))?.id ?? null);
    }
    const created = this.create(admin);
    created.catch(() => undefined);
    return { inserted: Promise.all(Array.from({ length: 10 }, () => this.insert())), created };
  }

  private async insert(): Promise<void> {
    const { below, pick } = this.chances;
    while (this.next < written) {
      const n = this.next++;
      const inStep = async () => (n * restarts <= (this.restarted + 1) * written ? true : undefined);
      await until('the restarts come along', patience(60_000), inStep);
      const id = `object-${below(10)}`;
      const kind = pick(['instance', 'host', 'image'] as const);
      await store.eventInsert(
        { actor: 'system:test', traceId: '0'.repeat(32) },
        {
          class: pick(['audit', 'lifecycle', 'observation'] as const),
          type: 'test.happened',
          projectId: pick(this.projects),
          object: { kind, id, name: id },
          data: { n },
        },
      );
    }
  }

  private async create(admin: BerthClient): Promise<void> {
    for (let n = 0; !this.over; n += 1) {
      const body = { name: `t${n}`, role: 'viewer', project: 'alpha' } as const;
      this.created.push((await answer(admin.rest.POST('/v1/tokens', { body }))).id);
      // Beside the other writer, not in its place.
      await rest(20);
    }
  }
}

const seed = seedOfRun();

test(
  `${written} events over ${restarts} API restarts: every watcher has each once and in order (BERTH_SEED=${seed})`,
  async () => {
    const chances = dice(chanceOf(seed));
    const writers = new Writers(chances);
    // As patient as the test.
    const admin = api.client(undefined, Array<number>(1000).fill(100));
    const { inserted, created } = await writers.begin(admin);
    const body = { name: 'bound', role: 'viewer', project: 'beta' } as const;
    const bound = await answer(admin.rest.POST('/v1/tokens', { body }));
    const watchers = watchersOf(api.token, String(bound.secret), chances.below);
    for (const watcher of watchers) watcher.begin();

    for (; writers.restarted < restarts; writers.restarted += 1) {
      const share = writers.restarted * written + chances.below(written);
      const isWritten = async () => (writers.next * restarts >= share ? true : undefined);
      await until('events are written', patience(60_000), isWritten);
      const signal = chances.pick(['SIGTERM', 'SIGKILL'] as const);
      expect(await api.end(signal)).toBe(signal === 'SIGTERM' ? '0' : 'SIGKILL');
      await api.start();
    }
    await inserted;
    writers.over = true;
    await created;

    await until('all is numbered', patience(60_000), async () =>
      (await store.figuresRead(0)).ledger.unnumbered === 0 ? true : undefined,
    );
    const expected = await Promise.all(watchers.map((w) => w.expected()));
    for (const [i, { name, seen }] of watchers.entries()) {
      const all = async () => (seen.length >= expected[i]!.length ? true : undefined);
      await until(
        `"${name}" has all`,
        patience(60_000),
        all,
        () => `${seen.length} of ${expected[i]!.length}`,
      );
    }
    await Promise.all(watchers.map((w) => w.end()));
    for (const [i, { name, seen, connections }] of watchers.entries()) {
      expect(
        seen.map((e) => e.position),
        name,
      ).toEqual(expected[i]);
      expect(connections, name).toBeGreaterThan(restarts / 2);
    }
    const all = watchers[0]!.seen;
    const numbers = all.filter((e) => e.type === 'test.happened').map((e) => e.data['n'] as number);
    expect(numbers.sort((a, b) => a - b)).toEqual(Array.from({ length: written }, (_, n) => n));
    const made = all.filter((e) => e.type === 'token.created').map((e) => e.object.id);
    // However often a create was repeated because the API died under it.
    expect(made).toEqual(expect.arrayContaining(writers.created));
    expect(all.filter((e) => e.type === 'token.created' && /^t\d/.test(e.object.name))).toHaveLength(
      writers.created.length,
    );
  },
  patience(300_000),
);
