import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { challengesOf, tokenOf } from './registry-auth.js';

const word = fc.string({ unit: fc.constantFrom(...'abcXYZ019!#-.~'), minLength: 1, maxLength: 8 });
const challenge = fc.record({
  scheme: word,
  params: fc.uniqueArray(
    fc.tuple(word, fc.string({ unit: fc.constantFrom(...'aZ9 ,="\\:/?&;'), maxLength: 20 })),
    {
      minLength: 1,
      maxLength: 4,
      selector: ([name]) => name.toLowerCase(),
    },
  ),
});
const quoted = (text: string): string => `"${text.replace(/["\\]/g, '\\$&')}"`;

describe('challenges', () => {
  it('are read as they are written, several in one header too', () => {
    fc.assert(
      fc.property(fc.array(challenge, { maxLength: 3 }), (challenges) => {
        const header = challenges
          .map(({ scheme, params }) => `${scheme} ${params.map(([k, v]) => `${k}=${quoted(v)}`).join(', ')}`)
          .join(', ');
        const read = challengesOf(header).map(({ scheme, params }) => ({ scheme, params: { ...params } }));
        expect(read).toEqual(
          challenges.map(({ scheme, params }) => ({
            scheme: scheme.toLowerCase(),
            params: Object.fromEntries(params.map(([k, v]) => [k.toLowerCase(), v])),
          })),
        );
      }),
    );
  });

  it('as registries write them', () => {
    expect(
      challengesOf(
        'Bearer realm="https://auth.example/token",service="r.example",scope="repository:a/b:pull,push"',
      ),
    ).toEqual([
      {
        scheme: 'bearer',
        params: {
          realm: 'https://auth.example/token',
          service: 'r.example',
          scope: 'repository:a/b:pull,push',
        },
      },
    ]);
    expect(challengesOf('Negotiate, Basic realm=here').map(({ scheme }) => scheme)).toEqual([
      'negotiate',
      'basic',
    ]);
    expect(challengesOf('')).toEqual([]);
  });

  it('of any text are read without an error', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => void challengesOf(text)));
  });
});

describe('a token', () => {
  it.each([
    ['{"token":"abc"}', 'abc'],
    ['{"access_token":"abc"}', 'abc'],
    ['{"token":"a b"}', null],
    ['{"token":"a\\r\\nx: y"}', null],
    ['{"token":""}', null],
    ['{"token":7}', null],
    ['null', null],
    ['<html>', null],
  ])('of %s', (body, token) => expect(tokenOf(Buffer.from(body))).toBe(token));
});
