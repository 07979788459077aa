import type { CloneOrder, ReportBody } from '@berth/link';
import { RuntimeError, type StepContext, type VolumeCloning } from '@berth/runtime';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { CloneOrders } from './clone-orders.js';
import { TestClock } from './testing/test-clock.js';

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const uuid = (n: number): never => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}` as never;
const order = (id: number, source = 90): CloneOrder => ({
  id: uuid(id),
  volumeId: uuid(id + 50),
  sourceId: uuid(source),
  format: 'qcow2',
  sizeMiB: 8,
});
type Said = Extract<ReportBody, { kind: 'clone' }>;

let clock: TestClock;
let calls: { clone: VolumeCloning; ctx: StepContext }[];
let said: Said[];
let heard: () => void;
/** What the runtime does with a call. */
let answers: ((call: { clone: VolumeCloning; ctx: StepContext }) => Promise<void>)[];
let orders: CloneOrders;

beforeEach(() => {
  clock = new TestClock();
  [calls, said, answers, heard] = [[], [], [], () => undefined];
  const cloneVolume = async (clone: VolumeCloning, ctx: StepContext): Promise<void> => {
    calls.push({ clone, ctx });
    heard();
    await answers.shift()?.({ clone, ctx });
  };
  orders = new CloneOrders({
    clock,
    log,
    runtimes: { ready: () => [{ name: 'fake', cloneVolume } as never] },
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
const outcomes = () => said.map(({ outcome }) => outcome);
const fails = (code: RuntimeError['code']) => () =>
  Promise.reject(new RuntimeError(code, 'it cannot', { remedy: 'Wait.' }));
/** Goes on until it is given up. */
const endless = ({ ctx }: { ctx: StepContext }): Promise<void> =>
  new Promise((_, reject) => ctx.signal.addEventListener('abort', () => reject(new Error('given up'))));

it('carries an order out once, says how far it is in few words, and that it is done as often as it is listed', async () => {
  answers = [
    ({ clone }) => {
      for (const percent of [0, 1, 4, 5, 30, 31, 30, 99]) clone.progress(percent);
      return Promise.resolve();
    },
  ];
  orders.want([order(1)]);
  await until(() => outcomes().at(-1)?.state === 'done');
  expect(outcomes().map((o) => (o.state === 'copying' ? o.percent : o.state))).toEqual([
    0,
    5,
    30,
    99,
    'done',
  ]);
  orders.want([order(1)]);
  expect(calls).toHaveLength(1);
  expect(calls[0]?.clone).toMatchObject({
    volumeId: uuid(51),
    sourceId: uuid(90),
    format: 'qcow2',
    sizeMiB: 8,
  });
  expect(said.at(-1)).toEqual({ kind: 'clone', orderId: uuid(1), outcome: { state: 'done' } });
});

it('gives up at once what is not listed any more, says nothing of it, and goes on with the next', async () => {
  answers = [endless];
  orders.want([order(1), order(2)]);
  await until(() => calls.length === 1);
  orders.want([order(2)]);
  await until(() => said.length === 1);
  expect(calls[0]?.ctx.signal.aborted).toBe(true);
  expect(said).toEqual([{ kind: 'clone', orderId: uuid(2), outcome: { state: 'done' } }]);
});

it('begins anew in the next life what the end of the agent cut short, and reports no failure of it', async () => {
  answers = [endless];
  orders.want([order(1)]);
  await until(() => calls.length === 1);
  await orders.close();
  expect(said).toEqual([]);
});

it('tries again four times, then fails; and fails at once what no repeat can mend', async () => {
  answers = [1, 2, 3, 4].map(() => fails('hostFault'));
  orders.want([order(1)]);
  for (let n = 1; n <= 4; n += 1) {
    await until(() => said.length === n);
    await clock.pass(60_000);
  }
  expect(outcomes().map((o) => o.state)).toEqual(['retrying', 'retrying', 'retrying', 'failed']);
  expect(outcomes().at(-1)).toMatchObject({ code: 'hostFault', message: 'it cannot', remedy: 'Wait.' });
  answers = [fails('noSpace'), fails('notPrepared')];
  orders.want([order(2), order(3)]);
  await until(() => said.length === 6);
  expect(outcomes().slice(4)).toMatchObject([
    { state: 'failed', code: 'noSpace' },
    { state: 'failed', code: 'notPrepared' },
  ]);
});

it('makes a file where one is asked for, of a snapshot or not, and says what it is', async () => {
  const file = { sizeBytes: 7, sha256: 'a'.repeat(64) };
  const asked: unknown[] = [];
  const exportVolume = ({ progress: _progress, ...order }: VolumeCloning): Promise<typeof file> => {
    asked.push(order);
    return Promise.resolve(file);
  };
  const exporting = new CloneOrders({
    clock,
    log,
    runtimes: { ready: () => [{ name: 'fake', exportVolume } as never] },
    report: (body) => {
      said.push(body as Said);
      heard();
    },
  });
  exporting.want([
    { ...order(1), export: true, snapshotId: uuid(7) },
    { ...order(2), export: true },
  ]);
  await until(() => said.length === 2);
  await exporting.close();
  expect(outcomes()).toEqual([
    { state: 'done', file },
    { state: 'done', file },
  ]);
  expect(asked).toMatchObject([{ volumeId: uuid(51), snapshotId: uuid(7) }, { volumeId: uuid(52) }]);
  expect(calls).toEqual([]);
  // A host without the facet refuses it, and no repeat mends that.
  orders.want([{ ...order(3), export: true }]);
  await until(() => said.length === 3);
  expect(outcomes().at(-1)).toMatchObject({ state: 'failed', code: 'unsupported' });
});
