import { readFileSync } from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Store } from '../../apps/api/src/store/store.js';
import { patience, until } from '../e2e/berth.js';
import { type ApiOnPostgres, apiOnPostgres, type ApiProcess } from '../support/api-process.js';

/* Five hundred clients of one real API process: what they get, and what they cost. */

const many = 500;
const written = 200;
/** What 500 streams may add to the API process, MiB: a socket, a place and one write each. */
const memoryMiB = 160;

let lab: ApiOnPostgres;
let store: Store;
let api: ApiProcess;
beforeAll(async () => {
  lab = await apiOnPostgres();
  ({ api, store } = lab);
}, 60_000);
afterAll(async () => {
  for (const watcher of watchers) watcher.end();
  await lab.stop();
}, 60_000);

/** A client that reads as fast as it can, and keeps the positions of what it got. */
class Watcher {
  readonly positions: string[] = [];
  private readonly asked = request(`${api.baseUrl}/v1/events`, {
    agent: false,
    headers: { authorization: `Bearer ${api.token}`, accept: 'text/event-stream' },
  });
  private rest = '';

  /** Resolves when the stream stands. */
  async begin(): Promise<void> {
    this.asked.end();
    const response = await new Promise<IncomingMessage>((resolve, reject) =>
      this.asked.once('response', resolve).once('error', reject),
    );
    expect(response.statusCode).toBe(200);
    response.setEncoding('utf8');
    response.on('data', (text: string) => this.read(text));
    response.on('error', () => undefined);
    await until('the stream stands', patience(30_000), async () => (this.stands ? true : undefined));
  }
  private stands = false;

  private read(text: string): void {
    const messages = (this.rest + text).split('\n\n');
    this.rest = messages.pop() ?? '';
    this.stands ||= messages.some((m) => m.startsWith(': connected'));
    for (const message of messages)
      if (!message.startsWith(':')) this.positions.push(/^id: (\d+)$/m.exec(message)?.[1] ?? message);
  }
  end(): void {
    this.asked.destroy();
  }
}
const watchers: Watcher[] = [];

async function write(count: number): Promise<void> {
  let next = 0;
  const writer = async (): Promise<void> => {
    while (next < count) {
      const name = `w${next++}`;
      await store.eventInsert(
        { actor: 'system:test', traceId: '0'.repeat(32) },
        {
          class: 'observation',
          type: 'test.happened',
          projectId: null,
          object: { kind: 'host', id: name, name },
          data: { text: 'x'.repeat(200) },
        },
      );
    }
  };
  await Promise.all(Array.from({ length: 4 }, writer));
}

async function reads(part: 'tail' | 'backlog'): Promise<number> {
  const response = await fetch(`${api.baseUrl}/metrics`, {
    headers: { authorization: `Bearer ${api.token}` },
  });
  const found = new RegExp(`^berth_ledger_reads_total\\{part="${part}"\\} (\\d+)$`, 'm').exec(
    await response.text(),
  );
  return Number(found?.[1]);
}

const residentMiB = (): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${api.pid}/status`, 'utf8'))?.[1]) / 1024;

/** Writes, and waits until all watchers have it; returns the reads that it took. */
async function round(): Promise<number> {
  const before = await reads('tail');
  const already = watchers.map((w) => w.positions.length);
  await write(written);
  for (const [i, watcher] of watchers.entries())
    await until(
      `watcher ${i} has all`,
      patience(60_000),
      async () => (watcher.positions.length - already[i]! >= written ? true : undefined),
      () => `${watcher.positions.length - already[i]!} of ${written}`,
    );
  return (await reads('tail')) - before;
}

test(
  `${many} watchers all get the same, for as many reads of the ledger as one`,
  async () => {
    watchers.push(new Watcher());
    await watchers[0]!.begin();
    const forOne = await round();
    const before = residentMiB();
    const more = Array.from({ length: many - 1 }, () => new Watcher());
    watchers.push(...more);
    for (let i = 0; i < more.length; i += 50) await Promise.all(more.slice(i, i + 50).map((w) => w.begin()));
    const forAll = await round();
    // Nobody in this process numbers: the API does once a second, however many watch.
    expect(forAll).toBeLessThanOrEqual(Math.max(2 * forOne, 20));
    expect(await reads('backlog')).toBe(0);
    expect(residentMiB() - before).toBeLessThan(memoryMiB);

    const [first] = watchers;
    const expected = first!.positions.slice(written);
    expect(expected).toHaveLength(written);
    for (const watcher of more) expect(watcher.positions).toEqual(expected);
  },
  patience(120_000),
);
