import { afterEach, beforeEach, expect, it } from 'vitest';
import type { SimulatedHost } from '@berth/runtime';
import { instanceId } from './testing/assignment-list.js';
import { PlacementsLab } from './testing/placements-lab.js';
import type { TestClock } from './testing/test-clock.js';

/* Restarts after crashes with no API about: the list came once, in the agent's first life. */
let lab: PlacementsLab;
let clock: TestClock;
let host: SimulatedHost;
beforeEach(async () => {
  lab = await PlacementsLab.with({});
  ({ clock, host } = lab);
  await started(1);
});
afterEach(() => lab.close());
const begin = (): Promise<void> => lab.begin();
const end = (): Promise<void> => lab.end();

const started = (times: number): Promise<void> => expect.poll(() => host.state.starts).toBe(times);
const crash = (): void => host.end({ instanceId, epoch: 1 }, { reason: 'exited', code: 1 });
/** The agent waits, and wakes in so many seconds at the latest. */
const waits = (seconds: number): Promise<void> => expect.poll(() => clock.due()).toContain(seconds * 1000);

/** Crashes at once, and is back after so many seconds and not before. */
async function crashAndWait(seconds: number): Promise<void> {
  const before = host.state.starts;
  crash();
  await waits(seconds);
  expect(host.state.starts).toBe(before);
  await clock.pass(seconds * 1000);
  await started(before + 1);
}

it('the back-off doubles with each crash in a row, up to the most', async () => {
  for (const seconds of [10, 20, 40, 60, 60]) await crashAndWait(seconds);
});

it('the back-off and its count are kept over a restart of the agent, without the API', async () => {
  await crashAndWait(10);
  crash();
  await waits(20);
  await clock.pass(15_000);
  await end();
  await begin();
  await waits(5);
  expect(host.state.starts).toBe(2);
  await clock.pass(5_000);
  await started(3);
  await end();
  await begin();
  await crashAndWait(40);
});

it('a crash while no agent lives is followed by a restart after the back-off, counted from the crash', async () => {
  await crashAndWait(10);
  await end();
  crash();
  await clock.pass(12_000);
  await begin();
  await waits(8);
  await clock.pass(8_000);
  await started(3);
});

it('a run that held out as long as the longest back-off begins the count anew, also over a restart of the agent', async () => {
  for (const seconds of [10, 20]) await crashAndWait(seconds);
  await clock.pass(59_000);
  await crashAndWait(40);
  await clock.pass(30_000);
  await end();
  await begin();
  await clock.pass(30_000);
  await crashAndWait(10);
  await crashAndWait(20);
});
