import fc from 'fast-check';
import { expect, it } from 'vitest';
import { counted, uncounted, type Count } from './probe-count.js';

const answers = fc.array(fc.boolean(), { maxLength: 40 });
const thresholds = fc.record({
  failureThreshold: fc.integer({ min: 1, max: 5 }),
  successThreshold: fc.integer({ min: 1, max: 5 }),
});
const all = (given: readonly boolean[], need: Parameters<typeof counted>[2], forgiven = false): Count =>
  given.reduce((count, good) => counted(count, good, need, forgiven), uncounted('unknown'));

/** Whether the list has so many of the value in a row. */
const rows = (given: readonly boolean[], value: boolean, many: number): boolean =>
  given
    .map((v) => (v ? 'g' : 'b'))
    .join('')
    .includes((value ? 'g' : 'b').repeat(many));

it('a verdict is that of the newest row that was long enough, and none without one', () => {
  fc.assert(
    fc.property(answers, thresholds, (given, need) => {
      const { verdict } = all(given, need);
      const newest = [...given.keys()].reverse().find((end) => {
        const value = given[end] ?? false;
        const many = value ? need.successThreshold : need.failureThreshold;
        return end + 1 >= many && given.slice(end + 1 - many, end + 1).every((v) => v === value);
      });
      expect(verdict).toBe(newest === undefined ? 'unknown' : given[newest] === true ? 'good' : 'bad');
    }),
  );
});

it('failures of the start period are as if nobody had asked, until the first success', () => {
  fc.assert(
    fc.property(answers, thresholds, (given, need) => {
      const forgiven = all(given, need, true);
      if (!rows(given, true, need.successThreshold)) expect(forgiven.verdict).toBe('unknown');
      else
        expect(forgiven.verdict).toBe(
          all(given.slice(given.indexOf(true)), need).verdict === 'bad' ? 'bad' : forgiven.verdict,
        );
      if (forgiven.verdict === 'unknown') expect(forgiven.bad).toBe(0);
    }),
  );
});
