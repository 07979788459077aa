import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { parse } from 'yaml';
import { problemText } from './failure.js';
import { listText, objectText } from './output.js';
import { suggestion } from './suggest.js';
import { plainText } from './terminal.js';

// eslint-disable-next-line no-control-regex -- what must not be there
const steering = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069]/u;
const hostile = fc
  .string({ unit: 'binary', maxLength: 20 })
  .map((s) => `${s}\u001b]0;x\u0007\u009b31m\u202e`);

describe('a text that steers terminals', () => {
  it('never reaches one in a table', () => {
    fc.assert(
      fc.property(hostile, (t) => {
        const columns = [{ head: 'T', cell: (i: { t: string }) => i.t }];
        expect(listText([{ t }], columns, 'wide')).not.toMatch(steering);
      }),
    );
  });
  it('is escaped in JSON and YAML, which keep their meaning', () => {
    fc.assert(
      fc.property(fc.record({ a: hostile, b: fc.array(hostile, { maxLength: 2 }) }), (object) => {
        const [json, yaml] = [objectText(object, 'json'), objectText(object, 'yaml')];
        expect(json).not.toMatch(steering);
        expect(yaml).not.toMatch(steering);
        expect(JSON.parse(json)).toEqual(object);
        expect(parse(yaml)).toEqual(object);
      }),
    );
  });
  it('does not reach one in an error either', () => {
    const problem = { type: 'about:blank', title: 'x', status: 404, code: 'notFound' as const };
    expect(plainText(problemText({ ...problem, detail: 'there is no instance "\u001b[2J"' }))).not.toMatch(
      steering,
    );
  });
});

describe('a suggestion', () => {
  it.each([
    ['instnaces', 'instances'],
    ['host', 'hosts'],
    ['imges', 'images'],
    ['colours', null],
    ['x', null],
  ])('for %s is %s', (typed, meant) => {
    expect(suggestion(typed, ['instances', 'hosts', 'images', 'operations'])).toBe(meant);
  });
});
