import type { ReportBody } from '@berth/link';
import type { InstanceId } from '@berth/model';
import { type Held, RuntimeError, SimulatedHost, SimulatedRuntime, type WorkloadKey } from '@berth/runtime';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Orphans } from './orphans.js';
import { TestClock } from './testing/test-clock.js';

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const key = { instanceId: '00000000-0000-4000-8000-0000000000aa' as InstanceId, epoch: 3 };
const text = `${key.instanceId}/${key.epoch}`;
const everyMs = 60_000;

/** A runtime whose inventory and removal can be made to fail. */
class Faulty extends SimulatedRuntime {
  inventoryFault: Error | null = null;
  removeFault: Error | null = null;
  removed: WorkloadKey[] = [];
  extra: Held[] = [];
  constructor(
    host: SimulatedHost,
    override readonly name: string,
  ) {
    super(host);
  }
  override async inventory(): Promise<Held[]> {
    if (this.inventoryFault !== null) throw this.inventoryFault;
    return [...(await super.inventory()), ...this.extra];
  }
  override async remove(...args: Parameters<SimulatedRuntime['remove']>): Promise<void> {
    if (this.removeFault !== null) throw this.removeFault;
    this.removed.push(args[0]);
    this.extra = [];
    await super.remove(...args);
  }
}

let clock: TestClock;
let host: SimulatedHost;
let one: Faulty;
let other: Faulty;
let groups: Faulty[][];
let known: boolean | null | (() => boolean);
let said: Extract<ReportBody, { kind: 'orphan' }>[];
let orphans: Orphans;
beforeEach(() => {
  clock = new TestClock();
  host = new SimulatedHost({ now: clock.now });
  one = new Faulty(host, 'one');
  other = new Faulty(new SimulatedHost({ now: clock.now }), 'other');
  groups = [[one, other]];
  known = false;
  said = [];
  orphans = new Orphans({
    clock,
    log,
    runtimes: { groups: () => groups },
    knows: () => (typeof known === 'function' ? known() : known),
    report: (body) => body.kind === 'orphan' && said.push(body),
    everyMs,
  });
});
afterEach(() => orphans.close());

const round = (): Promise<void> => clock.pass(everyMs);
const leave = (): void => void (host.state.debris[text] = ['link bt1', 'cgroup x']);

it('an orphan is reported when it is found, removed when it is found again, and reported with both times', async () => {
  leave();
  host.state.disks['volume'] = 1;
  await round();
  const foundAt = clock.now().toISOString();
  expect(said).toEqual([{ kind: 'orphan', ...key, parts: ['link bt1', 'cgroup x'], foundAt, sweptAt: null }]);
  expect(one.removed).toEqual([]);
  await round();
  expect(said[1]).toEqual({ ...said[0], sweptAt: clock.now().toISOString() });
  expect(one.removed).toEqual([key]);
  expect(other.removed).toEqual([]);
  expect(host.state.disks).toEqual({ volume: 1 });
  await round();
  expect(said).toHaveLength(2);
});

it('what runs is left alone, also where another driver of the same isolation finds its parts', async () => {
  one.extra = [{ ...key, runs: false, parts: ['link bt1'] }];
  other.extra = [{ ...key, runs: true, parts: ['domain'] }];
  for (let n = 0; n < 4; n += 1) await round();
  expect(said).toEqual([]);
  expect([...one.removed, ...other.removed]).toEqual([]);
});

it.each<[string, () => void, () => void]>([
  ['failed', () => (one.inventoryFault = new Error('no')), () => (one.inventoryFault = null)],
  ['could not be taken, a runtime being away', () => (groups = []), () => (groups = [[one, other]])],
  ['was empty', () => (host.state.debris = {}), leave],
  ['found what is known meanwhile', () => (known = true), () => (known = false)],
  ['came when nobody could tell what is known', () => (known = null), () => (known = false)],
])('an inventory that %s begins the count anew', async (_, fail, mend) => {
  leave();
  await round();
  fail();
  await round();
  await round();
  mend();
  await round();
  expect(one.removed).toEqual([]);
  await round();
  expect(one.removed).toEqual([key]);
});

it('what a list names between the inventory and the removal is left alone', async () => {
  one.extra = [{ ...key, runs: false, parts: ['link'] }];
  await round();
  let asked = 0;
  known = () => (asked += 1) > 1;
  await round();
  expect(asked).toBe(2);
  expect(one.removed).toEqual([]);
});

it('a removal that fails is tried again at the next inventory, with the time it was first found', async () => {
  leave();
  await round();
  one.removeFault = new RuntimeError('hostFault', 'busy');
  await round();
  await round();
  expect(said).toHaveLength(1);
  one.removeFault = null;
  await round();
  expect(said[1]).toMatchObject({ foundAt: said[0]?.foundAt, sweptAt: clock.now().toISOString() });
});

it('a runtime that does not answer holds nothing up for ever, and nothing is swept', async () => {
  leave();
  await round();
  other.inventory = () => new Promise(() => undefined);
  await round();
  await clock.pass(60_000);
  await clock.pass(60_000);
  expect(one.removed).toEqual([]);
});
