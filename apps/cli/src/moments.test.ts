import { expect, it } from 'vitest';
import { timeOf } from './moments.js';

const now = new Date('2026-02-03T10:00:00Z');

it.each([
  ['90s', '2026-02-03T09:58:30.000Z'],
  ['1h30m', '2026-02-03T08:30:00.000Z'],
  ['2d', '2026-02-01T10:00:00.000Z'],
  ['999999999d', '1970-01-01T00:00:00.000Z'],
  ['2026-02-03T10:00:00+02:00', '2026-02-03T08:00:00.000Z'],
  ['2026-02-03T08:00:00.250Z', '2026-02-03T08:00:00.250Z'],
])('%s before a moment is a time', (text, time) => {
  expect(timeOf('--since', text, now)).toBe(time);
});

it.each([
  '',
  '10',
  'm',
  '-5m',
  '1.5h',
  'yesterday',
  '2026-02-03',
  '2026-02-03T08:00:00',
  '2026-13-03T08:00:00Z',
])('%j is refused with what would do', (text) => {
  expect(() => timeOf('--since', text, now)).toThrow(/--since is so long ago .*, not/);
});
