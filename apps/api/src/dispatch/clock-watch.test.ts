import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ClockWatch } from './clock-watch.js';

it('is off by no more than half of the way there and its own step', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: -100_000, max: 100_000 }),
      fc.integer({ min: 0, max: 400 }),
      fc.integer({ min: 0, max: 400 }),
      (ahead, there, back) => {
        const seen = new ClockWatch().seen(1_000_000, 1_000_000 + there + back, 1_000_000 + there + ahead);
        expect(Math.abs((seen ?? NaN) - ahead)).toBeLessThanOrEqual(
          (there + back) / 2 + 100 + (there + back) / 2,
        );
        if (ahead === 0) expect(seen).toBe(0);
      },
    ),
  );
});

it('says what is new, and nothing of answers that took too long', () => {
  const watch = new ClockWatch();
  const seen = [0, 100, 3_000, 3_400, 3_600, 0].map((ahead) => watch.seen(5_000, 5_010, 5_005 + ahead));
  expect(seen).toEqual([0, null, 3_000, null, 3_600, 0]);
  expect(watch.seen(5_000, 7_000, 60_000)).toBeNull();
  // Our own clock was set back in between.
  expect(watch.seen(5_000, 4_000, 60_000)).toBeNull();
  expect(watch.seen(0, 0, 8e15)).toBe(2 ** 31 - 1);
});
