import { readFileSync, realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
// @ts-expect-error a plain script without types
import { danglingOptionals } from '../../tools/lock/prune.mjs';
// @ts-expect-error a plain script without types
import { firstMissing } from '../../tools/lock/installed.mjs';

it('the lock file holds all it names, so that npm ci accepts it (else run: node tools/lock/prune.mjs)', () => {
  const lock: unknown = JSON.parse(
    readFileSync(fileURLToPath(new URL('../../package-lock.json', import.meta.url)), 'utf8'),
  );
  expect(danglingOptionals(lock)).toEqual([]);
});
it('tsc is the native compiler, and typescript keeps the API that lint and the types of the client need', () => {
  const modules = fileURLToPath(new URL('../../node_modules/', import.meta.url));
  expect(realpathSync(`${modules}.bin/tsc`)).toBe(realpathSync(`${modules}@typescript/native/bin/tsc`));
  const { version } = JSON.parse(readFileSync(`${modules}typescript/package.json`, 'utf8')) as {
    version: string;
  };
  expect(version).toMatch(/^5\.9\./);
});
it('what a lock names and does not hold is found', () => {
  const lock = {
    packages: { 'node_modules/a': { optionalDependencies: { b: '1', c: '1' } }, 'node_modules/b': {} },
  };
  expect(danglingOptionals(lock)).toEqual([{ key: 'node_modules/a', names: ['c'] }]);
});
it('what is installed is compared with the lock by version and content; optional binaries may be absent', () => {
  const lock = {
    packages: {
      '': {},
      'node_modules/a': { version: '1', integrity: 'x' },
      'node_modules/b': { version: '1', optional: true },
    },
  };
  const held = (version: string, integrity: string) => ({
    packages: { 'node_modules/a': { version, integrity } },
  });
  expect(firstMissing(lock, held('1', 'x'))).toBe(null);
  expect(firstMissing(lock, held('2', 'x'))).toBe('node_modules/a');
  expect(firstMissing(lock, held('1', 'y'))).toBe('node_modules/a');
  expect(firstMissing(lock, { packages: {} })).toBe('node_modules/a');
});
