import type { InstanceId } from '@berth/model';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { StorageWatch } from './storage-watch.js';

const key = { instanceId: '00000000-0000-4000-8000-000000000001' as InstanceId, epoch: 1 };
let now = 0;
let freeMiB = 0;
let letGo: number[] = [];
let watch: StorageWatch;
beforeEach(() => {
  [now, freeMiB, letGo] = [0, 0, []];
  watch = new StorageWatch(
    {
      freeMiB: () => Promise.resolve(freeMiB),
      goOn: () => {
        letGo.push(now);
        return Promise.resolve();
      },
    },
    // The timer never fires: the test looks.
    { lookMs: 1_000_000, longestMs: 4_000_000 },
    () => now,
  );
});
afterEach(() => watch.close());

async function lookEach(ms: number, until: number): Promise<void> {
  for (; now <= until; now += ms) await watch.look();
}

it('lets nothing go on before the pool has real room', async () => {
  watch.saw(key, true);
  for (freeMiB = 0; freeMiB < 16; freeMiB += 1) await watch.look();
  expect(letGo).toEqual([]);
  await watch.look();
  expect(letGo).toEqual([0]);
});

it('waits twice as long each time for a machine that stalls again at once, up to the longest wait', async () => {
  freeMiB = 100;
  watch.saw(key, true);
  for (; now <= 20_000_000; now += 500_000) {
    await watch.look();
    // It runs for a moment, and stalls.
    if (letGo.at(-1) === now) {
      watch.saw(key, false);
      watch.saw(key, true);
    }
  }
  expect(letGo).toEqual([0, 2_000_000, 6_000_000, 10_000_000, 14_000_000, 18_000_000]);
});

it('forgets how often it stalled once it ran for long', async () => {
  freeMiB = 100;
  watch.saw(key, true);
  await watch.look();
  watch.saw(key, false);
  await lookEach(1_000_000, 6_000_000);
  watch.saw(key, true);
  await watch.look();
  expect(letGo).toEqual([0, 7_000_000]);
});

it('leaves alone what is removed, or never stalled', async () => {
  freeMiB = 100;
  watch.saw(key, false);
  await watch.look();
  watch.saw(key, true);
  watch.forget(key);
  await watch.look();
  expect(letGo).toEqual([]);
});
