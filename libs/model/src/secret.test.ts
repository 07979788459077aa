import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkSecrets, secretBytes, secretIsLive, secretIsText, secretPath, SecretUses } from './secret.js';

/** Fields that are refused, and why. */
function refusals(secrets: object[], more: object = {}): string[] {
  const said: string[] = [];
  const spec = { isolation: 'container', secrets: SecretUses.parse(secrets), ...more };
  checkSecrets(spec, (path, message) => said.push(`${path.join('/')}: ${message}`));
  return said;
}

describe('the secrets of a spec', () => {
  it('are files in /run/secrets by their names, unless said otherwise', () => {
    expect(refusals([{ name: 'a' }, { name: 'b', env: 'B' }, { name: 'c', path: '/etc/app/key' }])).toEqual(
      [],
    );
    expect(secretPath({ name: 'a' })).toBe('/run/secrets/a');
    expect(secretPath({ name: 'a', env: 'A' })).toBeNull();
    expect([{ name: 'a' }, { name: 'a', path: '/run/secrets/b' }].every(secretIsLive)).toBe(true);
    expect(
      [
        { name: 'a', path: '/etc/key' },
        { name: 'a', env: 'A' },
      ].some(secretIsLive),
    ).toBe(false);
  });

  it.each([
    ['/proc/key', 'kernel'],
    ['/run/secrets', 'name a file'],
    ['/run/secrets/deep/key', 'directly'],
    ['/etc/hosts', 'its host writes'],
    ['/etc/../proc/key', '".."'],
  ])('cannot be at %s', (path, why) => {
    expect(refusals([{ name: 'a', path }])).toEqual([expect.stringMatching(`secrets/0/path: .*${why}`)]);
  });

  it('hide nothing of each other, nor of what else is asked for', () => {
    const two = (a: object, b: object) =>
      refusals([
        { name: 'a', ...a },
        { name: 'b', ...b },
      ]);
    expect(two({ path: '/k' }, { path: '/k' })).toHaveLength(1);
    expect(two({ path: '/k/l' }, { path: '/k' })).toEqual([expect.stringContaining('secrets/1/path')]);
    expect(two({ env: 'A' }, { env: 'A' })).toEqual([expect.stringContaining('secrets/1/env')]);
    expect(two({}, { path: '/run/secrets/a' })).toHaveLength(1);
    expect(refusals([{ name: 'a', env: 'A' }], { process: { env: { A: '' } } })).toHaveLength(1);
    const tmpfs = [{ path: '/run/secrets', sizeMiB: 1, mode: '1777' }];
    expect(refusals([{ name: 'a' }], { security: { tmpfs } })).toHaveLength(1);
    expect(refusals([{ name: 'a' }], { isolation: 'vm' })).toEqual([expect.stringMatching(/^secrets: /)]);
    expect(refusals([{ name: 'a' }], { isolation: 'microvm' })).toEqual([]);
  });
});

describe('the value of a secret', () => {
  it('is the bytes that were sent, in either form', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const base64 = Buffer.from(bytes).toString('base64');
        expect(Buffer.from(secretBytes({ base64 }))).toEqual(Buffer.from(bytes));
        const text = Buffer.from(bytes).toString('utf8');
        expect(Buffer.from(secretBytes({ value: text })).toString('utf8')).toBe(text);
        const whole = Buffer.from(text, 'utf8').equals(Buffer.from(bytes));
        expect(secretIsText(bytes)).toBe(whole && !bytes.includes(0));
      }),
    );
  });
});
