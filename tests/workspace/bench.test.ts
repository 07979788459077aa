import { describe, expect, it } from 'vitest';

// The benchmarks are plain programs without types.
const { comparison, inTurn, medianInterval } = (await import('../../bench/measure.mjs' as string)) as {
  comparison: (...args: unknown[]) => {
    ratio: { median: number; low: number; high: number };
    met: boolean | null;
  };
  inTurn: (...args: unknown[]) => Promise<Record<string, number[]>>;
  medianInterval: (numbers: number[], seed?: number) => { median: number; low: number; high: number };
};

describe('the benchmarks', () => {
  it('compare within rounds: a slow moment of the machine that hits both is no difference', () => {
    const slow = [1, 1, 5, 1, 9, 1];
    const { ratio, met } = comparison(
      'x',
      slow.map((s) => 50 * s),
      slow.map((s) => 100 * s),
      'peer',
      0.5,
    );
    expect([ratio, met]).toEqual([{ median: 0.5, low: 0.5, high: 0.5 }, true]);
  });
  it('give the same interval for the same results, and the median within it', () => {
    const numbers = [1, 2, 3, 4, 5, 6, 7, 8, 9, 30];
    const found = medianInterval(numbers);
    expect(medianInterval(numbers)).toEqual(found);
    expect(found.low).toBeLessThan(found.median);
    expect(found.high).toBeGreaterThan(found.median);
    expect(found.high).toBeLessThan(30);
  });
  it('turn the order of the contenders, and leave the warming up out', async () => {
    const order: string[] = [];
    const contender = (name: string) => (round: number) => (order.push(name), Promise.resolve(round));
    const options = { rounds: 2, limitMs: 60_000, progress: () => undefined };
    const times = await inTurn({ a: contender('a'), b: contender('b') }, options);
    expect(times).toEqual({ a: [2, 3], b: [2, 3] });
    expect(order.join('')).toBe('abbaabba');
  });
});
