import type { ReportBody, SnapshotOrder } from '@berth/link';
import { RuntimeError, type SnapshotFacet, type SnapshotOf } from '@berth/runtime';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { SnapshotOrders } from './snapshot-orders.js';
import { TestClock } from './testing/test-clock.js';

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const uuid = (n: number): never => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}` as never;
const order = (id: number, verb: SnapshotOrder['verb'], instance = 1, snapshot = id): SnapshotOrder => ({
  id: uuid(id),
  verb,
  instanceId: uuid(instance),
  snapshotId: uuid(snapshot),
  volumes: [uuid(99)],
});
const taken = {
  consistency: 'crash',
  indications: ['x'],
  takenAt: '2026-01-01T00:00:00.000Z',
  heldMiB: 1,
} as const;

type Said = Extract<ReportBody, { kind: 'snapshot' }>;

let clock: TestClock;
let calls: string[];
let said: Said[];
let heard: () => void;
/** What the runtime does with a call; the next one waits until it is there. */
let answers: (() => Promise<unknown>)[];
let away: boolean;
let orders: SnapshotOrders;

beforeEach(() => {
  clock = new TestClock();
  [calls, said, answers, away, heard] = [[], [], [], false, () => undefined];
  const call =
    (verb: string) =>
    async (of: SnapshotOf): Promise<never> => {
      calls.push(`${verb} ${Number(of.snapshotId.slice(-2))}`);
      heard();
      return (await (
        answers.shift() ?? (() => Promise.resolve(verb === 'take' ? taken : undefined))
      )()) as never;
    };
  const facet: SnapshotFacet = { take: call('take'), revert: call('revert'), remove: call('remove') };
  orders = new SnapshotOrders({
    clock,
    log,
    newest: (instanceId) =>
      away
        ? { refusal: { status: 503, body: { code: 'unavailable', message: 'its runtime is away' } } }
        : ({ key: { instanceId, epoch: 3 }, runtime: { name: 'fake', snapshots: facet } } as never),
    report: (body) => {
      said.push(body as Said);
      heard();
    },
  });
});
afterEach(() => orders.close());

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise<void>((resolve) => (heard = resolve));
}
const states = (): string[] => said.map(({ outcome }) => outcome.state);
const fails = (code: RuntimeError['code']) => () =>
  Promise.reject(new RuntimeError(code, 'it cannot', { remedy: 'Wait.' }));

it('carries an order out once, and says so again as often as it is listed', async () => {
  orders.want([order(1, 'take')]);
  await until(() => said.length === 1);
  orders.want([order(1, 'take')]);
  expect(calls).toEqual(['take 1']);
  expect(said).toEqual(
    [0, 1].map(() => ({
      kind: 'snapshot',
      orderId: uuid(1),
      snapshotId: uuid(1),
      outcome: { state: 'done', taken },
    })),
  );
});

it('carries out the orders of one instance one after the other, and those of others beside them', async () => {
  let end: (value: unknown) => void = () => undefined;
  answers = [() => new Promise((resolve) => (end = resolve))];
  orders.want([order(1, 'take'), order(2, 'remove'), order(3, 'take', 2)]);
  await until(() => said.length === 1);
  expect(calls).toEqual(['take 1', 'take 3']);
  end(taken);
  await until(() => said.length === 3);
  expect(calls).toEqual(['take 1', 'take 3', 'remove 2']);
});

it('gives up a snapshot that cannot be taken, once nothing of it is left', async () => {
  // Four times it cannot be taken; what is left cannot be taken away at first, so it is tried once more.
  answers = Array.from({ length: 6 }, () => fails('hostFault'));
  orders.want([order(1, 'take')]);
  for (let n = 1; n <= 5; n += 1) {
    await until(() => said.length === n);
    await clock.pass(60_000);
  }
  expect(states().slice(0, 4)).toEqual(['retrying', 'retrying', 'retrying', 'retrying']);
  expect(states().at(-1)).toBe('failed');
  expect(said.at(-1)?.outcome).toMatchObject({ code: 'hostFault', message: 'it cannot', remedy: 'Wait.' });
  expect(calls.at(-1)).toBe('remove 1');
});

it('fails at once what no repeat can mend, and takes away what a snapshot left', async () => {
  answers = [fails('unsupported')];
  orders.want([order(1, 'take')]);
  await until(() => said.length === 1);
  answers = [fails('noSuchSnapshot')];
  orders.want([order(1, 'take'), order(2, 'revert')]);
  await until(() => said.length === 3);
  expect(said.map(({ outcome }) => [outcome.state, 'code' in outcome && outcome.code])).toEqual([
    ['failed', 'unsupported'],
    ['failed', 'unsupported'],
    ['failed', 'noSuchSnapshot'],
  ]);
  expect(calls).toEqual(['take 1', 'remove 1', 'revert 2']);
});

it.each(['revert', 'remove'] as const)('goes on with a %s until it is done', async (verb) => {
  answers = Array.from({ length: 9 }, () => fails('hostFault'));
  orders.want([order(1, verb)]);
  for (let n = 1; n <= 10; n += 1) {
    await until(() => said.length === n);
    await clock.pass(60_000);
  }
  expect(states().at(-1)).toBe('done');
  expect(new Set(states().slice(0, -1))).toEqual(new Set(['retrying']));
});

it('waits for a runtime that is away, and forgets what is listed no more', async () => {
  away = true;
  orders.want([order(1, 'take'), order(2, 'remove', 2)]);
  await until(() => said.length === 2);
  expect(states()).toEqual(['retrying', 'retrying']);
  orders.want([order(2, 'remove', 2)]);
  away = false;
  await clock.pass(60_000);
  await until(() => states().includes('done'));
  expect(calls).toEqual(['remove 2']);
});
