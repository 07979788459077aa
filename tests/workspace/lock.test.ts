import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
// @ts-expect-error a plain script without types
import { danglingOptionals } from '../../tools/lock/prune.mjs';

it('the lock file holds all it names, so that npm ci accepts it (else run: node tools/lock/prune.mjs)', () => {
  const lock: unknown = JSON.parse(
    readFileSync(fileURLToPath(new URL('../../package-lock.json', import.meta.url)), 'utf8'),
  );
  expect(danglingOptionals(lock)).toEqual([]);
});
it('what a lock names and does not hold is found', () => {
  const lock = {
    packages: { 'node_modules/a': { optionalDependencies: { b: '1', c: '1' } }, 'node_modules/b': {} },
  };
  expect(danglingOptionals(lock)).toEqual([{ key: 'node_modules/a', names: ['c'] }]);
});
