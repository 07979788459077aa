import fc from 'fast-check';
import { expect, it } from 'vitest';
import { cpuBaseline, cpuRank } from './cpu-baseline.js';

const names = [
  'qemu64',
  'Conroe',
  'Nehalem',
  'Haswell-noTSX',
  'Haswell',
  'Haswell-IBRS',
  'EPYC',
  'max',
  'Unheard',
];
const host = fc.subarray(names).chain((models) => fc.shuffledSubarray(models, { minLength: models.length }));

it('is had by every host, and nothing better is', () => {
  fc.assert(
    fc.property(fc.array(host, { minLength: 1, maxLength: 6 }), (hosts) => {
      const model = cpuBaseline(hosts);
      const common = names.filter((name) => hosts.every((models) => models.includes(name)));
      const ranks = common.map(cpuRank).filter((rank) => rank !== null);
      expect(model === null).toBe(ranks.length === 0);
      if (model === null) return;
      expect(common).toContain(model);
      expect(cpuRank(model)).toBe(Math.max(...ranks));
    }),
  );
});

it('gets no better by one more host, and does not depend on their order', () => {
  const rankOf = (hosts: readonly (readonly string[])[]): number => cpuRank(cpuBaseline(hosts) ?? '') ?? -1;
  fc.assert(
    fc.property(fc.array(host, { minLength: 1, maxLength: 5 }), host, (hosts, more) => {
      expect(rankOf([...hosts, more])).toBeLessThanOrEqual(rankOf(hosts));
      expect(cpuBaseline([...hosts].reverse())).toBe(cpuBaseline(hosts));
    }),
  );
});

it('is of no host none, never max, and tells variants of a family apart', () => {
  expect([cpuBaseline([]), cpuBaseline([['max']]), cpuBaseline([['EPYC'], []])]).toEqual([null, null, null]);
  expect(cpuBaseline([['Haswell', 'Haswell-noTSX', 'Haswell-IBRS', 'max']])).toBe('Haswell-IBRS');
  expect(cpuBaseline([['Haswell-noTSX', 'Haswell']])).toBe('Haswell');
  expect(cpuBaseline([['Broadwell-noTSX-IBRS', 'Haswell-IBRS']])).toBe('Broadwell-noTSX-IBRS');
  expect(new Set(names.map(cpuRank).filter((rank) => rank !== null)).size).toBe(7);
});
