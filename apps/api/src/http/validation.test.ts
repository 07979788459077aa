import { BerthError, InstanceCreate } from '@berth/model';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { parse, pointer } from './validation.js';

function errorsOf(schema: z.ZodType, value: unknown, part: 'body' | 'query' = 'body') {
  try {
    parse(part, schema, value);
  } catch (error) {
    return (error as BerthError).options.errors ?? [];
  }
  return [];
}

const good = { name: 'web', spec: { isolation: 'container', image: 'busybox', memoryMiB: 64 } };

describe('what a client reads about a bad field', () => {
  test('pointers escape "~" and "/" as RFC 6901 says', () => {
    expect(pointer('body', ['labels', 'a/b~c'])).toBe('/labels/a~1b~0c');
    expect(pointer('query', ['wait'])).toBe('query/wait');
  });

  test('every bad field is named at once, each with a remedy', () => {
    const errors = errorsOf(InstanceCreate, {
      ...good,
      colour: 1,
      spec: { ...good.spec, memoryMiB: '64', isolation: 'jail', extra: true },
    });
    expect(errors.map((e) => [e.path, e.code]).sort()).toEqual([
      ['/colour', 'unknownField'],
      ['/spec/extra', 'unknownField'],
      ['/spec/isolation', 'notOneOf'],
      ['/spec/memoryMiB', 'wrongType'],
    ]);
    for (const e of errors) expect(e.remedy).not.toBe('');
  });

  test('an absent field is required, not of the wrong type', () => {
    expect(errorsOf(InstanceCreate, { name: 'web' })).toEqual([
      expect.objectContaining({ path: '/spec', code: 'required' }),
    ]);
  });

  test('a bad label key is named by its pointer', () => {
    const [error] = errorsOf(InstanceCreate, { ...good, labels: { 'A b': 'x' } });
    expect(error?.path).toBe('/labels/A b');
  });

  test('text that Postgres cannot hold is refused wherever it stands', () => {
    const schema = z.strictObject({ list: z.array(z.string()), map: z.record(z.string(), z.string()) });
    const errors = errorsOf(schema, { list: ['ok', 'a\0b'], map: { k: '\ud800' } });
    expect(errors.map((e) => e.path)).toEqual(['/list/1', '/map/k']);
    expect(errorsOf(schema, { list: ['😀'], map: {} })).toEqual([]);
  });
});
