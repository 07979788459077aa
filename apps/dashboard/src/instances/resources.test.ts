import { expect, test } from 'vitest';
import type { Instance } from '../api/client.js';
import { resourcesOf } from './resources.js';

const of = (resources: Instance['spec']['resources']): string =>
  resourcesOf({ ...(resources === undefined ? {} : { resources }) } as Instance['spec']);

test('bounds are told in few words, and defaults not at all', () => {
  expect(of(undefined)).toBe('');
  expect(of({ io: {} })).toBe('');
  expect(of({ pids: 64, cpus: '0-1', io: { writeMiBPerSecond: 5, weight: 200 }, swapMiB: 0 })).toBe(
    '64 processes, on processors 0-1, 0 MiB swap, writes 5 MiB/s, disk weight 200',
  );
});
