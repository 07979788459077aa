import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import type { Machine } from './machine-driver.js';
import { ObservationHub } from './observation-hub.js';
import { askToEnd } from './power-button.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const machine = { instanceId: 'i', epoch: 1, power: 'running' } as unknown as Machine;
const asking = { press: () => Promise.resolve(), resume: () => Promise.resolve() };
const asked = (graceSeconds: number, signal: AbortSignal): Promise<boolean> => {
  const ctx = { signal, deadline: Date.now() + 60_000 };
  return askToEnd(asking, new ObservationHub(), machine, graceSeconds, ctx, () => Promise.resolve(false));
};

it('the time of grace ends, also when memory is collected meanwhile', async () => {
  const collecting = setInterval(collect, 20);
  try {
    expect(await asked(0.3, new AbortController().signal)).toBe(false);
  } finally {
    clearInterval(collecting);
  }
});

it('a step that is given up, before or during it, ends the waiting', async () => {
  expect(await asked(3600, AbortSignal.abort())).toBe(false);
  const step = new AbortController();
  const waiting = asked(3600, step.signal);
  step.abort();
  expect(await waiting).toBe(false);
});
