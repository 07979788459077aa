import { describe, expect, it } from 'vitest';

// The benchmarks are plain programs without types.
const { comparison, inTurn, median, medianInterval, percentile, seeded } = (await import(
  '../../bench/measure.mjs' as string
)) as {
  comparison: (...args: unknown[]) => {
    ratio: { median: number; low: number; high: number };
    verdict: 'met' | 'missed' | 'open' | null;
  };
  median: (numbers: number[]) => number;
  percentile: (numbers: number[], p: number) => number;
  seeded: (seed: number) => () => number;
  inTurn: (...args: unknown[]) => Promise<Record<string, number[]>>;
  medianInterval: (numbers: number[], seed?: number) => { median: number; low: number; high: number };
};
const { section, withResults } = (await import('../../bench/report.mjs' as string)) as {
  section: (name: string, result: object, options: { date: string; pairs: number }) => string;
  withResults: (page: string, sections: Record<string, string>, names: string[]) => string;
};

describe('the benchmarks', () => {
  it('compare within rounds: a slow moment of the machine that hits both is no difference', () => {
    const slow = Array.from({ length: 30 }, (_, i) => (i % 4 === 0 ? 9 : 1));
    const { ratio, verdict } = comparison(
      'x',
      slow.map((s) => 50 * s),
      slow.map((s) => 100 * s),
      'peer',
      0.5,
    );
    expect([ratio, verdict]).toEqual([{ median: 0.5, low: 0.5, high: 0.5 }, 'met']);
  });
  it('say that an aim is met or missed only when the whole interval does, of thirty pairs or more', () => {
    const verdictOf = (lowest: number, highest: number, pairs = 30) => {
      const ours = Array.from({ length: pairs }, (_, i) => lowest + ((highest - lowest) * i) / (pairs - 1));
      const peer = ours.map(() => 1);
      return comparison('x', ours, peer, 'peer', 1.05).verdict;
    };
    expect(verdictOf(1, 1.04)).toBe('met');
    expect(verdictOf(1.06, 1.1)).toBe('missed');
    expect(verdictOf(1, 1.11)).toBe('open');
    expect([verdictOf(1, 1.04, 29), verdictOf(1.06, 1.1, 29)]).toEqual(['open', 'open']);
  });
  it('take the middle of an even number of results, and the nearest rank for percentiles', () => {
    expect([median([4, 1, 3, 2]), median([3, 1, 2])]).toEqual([2.5, 2]);
    expect([percentile([4, 1, 3, 2], 0.5), percentile([4, 1, 3, 2], 0.95), percentile([7], 0)]).toEqual([
      2, 4, 7,
    ]);
  });
  it('cover the true median about as often as they claim', () => {
    const random = seeded(7);
    const trials = 40;
    let covered = 0;
    for (let i = 0; i < trials; i++) {
      const { low, high } = medianInterval(Array.from({ length: 30 }, random), i);
      if (low <= 0.5 && 0.5 <= high) covered++;
    }
    expect(covered / trials).toBeGreaterThanOrEqual(0.88);
    expect(covered / trials).toBeLessThan(1);
  });
  it('replace the results of a benchmark on the page, and nothing else', () => {
    const options = { date: '2026-01-02', pairs: 30 };
    const facts = (said: string) => ({ facts: [['it', said]] });
    const names = ['get', 'rate', 'burst'];
    let page = '# Benchmarks\n\nHow.\n\n## Results\n\nNone yet.\n';
    const measure = (name: string, said: string) => {
      page = withResults(page, { [name]: section(name, facts(said), options) }, names);
      return page;
    };
    expect(measure('rate', 'once')).toContain(
      '# Benchmarks\n\nHow.\n\n## Results\n\n### `rate`\n\n2026-01-02: ',
    );
    const before = page;
    expect(measure('get', 'fast')).not.toBe(before);
    expect(page.indexOf('`get`')).toBeLessThan(page.indexOf('`rate`'));
    expect(measure('rate', 'twice')).toContain('| it | twice |');
    expect(page).toContain('| it | fast |');
    expect(page).not.toContain('once');
    expect(measure('rate', 'once').split('### ').length).toBe(3);
    expect(page.endsWith('|\n')).toBe(true);
  });
  it('stand on the page with all that was measured, below one heading', () => {
    const rows = Array.from({ length: 30 }, () => 2);
    const measured = {
      comparisons: [{ what: 'it', ...comparison('it', rows, rows, 'peer', 0.5) }],
      facts: [['count', '7']],
      trace: { title: 'A start', total: 10, parts: [['api.host', 8]] },
    };
    const text = section('get', measured, { date: '2026-01-02', pairs: 30 });
    for (const words of [
      '30 rounds wanted',
      '≤ 0.5: missed',
      '| count | 7 |',
      'A start: 10.0 ms',
      '| api: host | 8.00 | 80 % |',
    ])
      expect(text).toContain(words);
    expect(text.match(/^#/gm)).toHaveLength(1);
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
