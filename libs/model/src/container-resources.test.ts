import fc from 'fast-check';
import { expect, it } from 'vitest';
import { checkResources, ContainerResources, processorsIn, resourcesRefusal } from './container-resources.js';

it('a list of processors is read as Linux reads it, whatever the order of its parts', () => {
  const range = fc.tuple(fc.nat(200), fc.nat(20)).map(([first, more]) => ({ first, last: first + more }));
  fc.assert(
    fc.property(fc.array(range, { minLength: 1, maxLength: 8 }), (ranges) => {
      const text = ranges
        .map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`))
        .join(',');
      const wanted = new Set<number>();
      for (const { first, last } of ranges) for (let n = first; n <= last; n += 1) wanted.add(n);
      expect(processorsIn(text)).toEqual([...wanted].sort((a, b) => a - b));
      expect(ContainerResources.safeParse({ cpus: text }).success).toBe(true);
    }),
  );
});

it.each(['', ',', '1,', '3-1', '-1', '1-', '8192', '0-9999', 'a', '0 1', '1:2/4', '0x1'])(
  '%j is no list of processors',
  (text) => {
    expect(processorsIn(text)).toBeNull();
  },
);

const told = (isolation: string, resources: object): string[] => {
  const all: string[] = [];
  checkResources({ isolation, memoryMiB: 64, resources }, (path, message) =>
    all.push(`${path.join('.')}: ${message}`),
  );
  return all;
};

it('what cannot be so on any host is told with what would do', () => {
  expect(told('container', { pids: 64, cpuWeight: 10, cpus: '0-3,8' })).toEqual([]);
  expect(told('container', { cpus: '3-1' })).toEqual([expect.stringMatching(/^resources\.cpus: .*0-3,8$/)]);
  expect(told('container', { memoryHighMiB: 64, swapMiB: 0, io: {} })).toEqual([]);
  expect(told('container', { memoryHighMiB: 65 })).toEqual([expect.stringMatching(/at most memoryMiB, 64/)]);
  for (const isolation of ['vm', 'microvm'])
    expect(told(isolation, {})).toEqual([expect.stringMatching(/^resources: only for .*leave it out$/)]);
  for (const bad of [{ pids: 15 }, { cpuWeight: 9 }, { cpuWeight: 256_001 }, { cpus: '0;1' }, { more: 1 }])
    expect(ContainerResources.safeParse(bad).success, JSON.stringify(bad)).toBe(false);
});

it('a host says which of it it cannot give, and what to do', () => {
  const offer = { facets: ['resources'], processors: '0-1,4' };
  expect(resourcesRefusal({}, { facets: [] })).toBeNull();
  expect(resourcesRefusal({ resources: {} }, { facets: [] })).toMatchObject({ field: 'resources' });
  expect(resourcesRefusal({ resources: { pids: 64, cpuWeight: 200, cpus: '4,0' } }, offer)).toBeNull();
  expect(resourcesRefusal({ resources: { cpus: '0-3' } }, offer)).toMatchObject({
    field: 'resources.cpus',
    need: 'processors 0-3',
    have: '0-1,4',
    message: 'it has no processor 2, 3; those that containers may have are 0-1,4',
  });
  expect(resourcesRefusal({ resources: { cpus: '0' } }, { facets: ['resources'] })?.message).toMatch(
    /cpuset/,
  );
  for (const [resources, field, facet] of [
    [{ io: { readMiBPerSecond: 1 } }, 'resources.io', 'ioLimits'],
    [{ io: { weight: 200 } }, 'resources.io.weight', 'ioWeight'],
    [{ memoryHighMiB: 32 }, 'resources.memoryHighMiB', 'memoryHigh'],
    [{ swapMiB: 1 }, 'resources.swapMiB', 'swap'],
  ] as const) {
    expect(resourcesRefusal({ resources }, offer)).toMatchObject({
      field,
      remedy: expect.stringMatching(/leave/),
    });
    expect(resourcesRefusal({ resources }, { facets: [...offer.facets, facet] })).toBeNull();
  }
  expect(resourcesRefusal({ resources: { swapMiB: 0, io: {} } }, offer)).toBeNull();
});
