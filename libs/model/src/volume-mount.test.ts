import { expect, it } from 'vitest';
import { checkMounts, VolumeMount } from './volume-mount.js';

function refusals(isolation: string, volumes: object[], more: object = {}): string[] {
  const said: string[] = [];
  const spec = { isolation, volumes: volumes.map((v) => VolumeMount.parse(v)), ...more };
  checkMounts(spec, (path, message) => said.push(`${path.join('/')}: ${message}`));
  return said;
}

it('a volume is a disk of a vm, and at a path of a container', () => {
  expect(refusals('vm', [{ name: 'a' }])).toEqual([]);
  expect(
    refusals('container', [
      { name: 'a', path: '/data' },
      { name: 'b', path: '/data/in' },
    ]),
  ).toEqual([]);
  expect(refusals('vm', [{ name: 'a', path: '/data' }])).toEqual([
    expect.stringMatching('volumes/0/path: only'),
  ]);
  expect(refusals('container', [{ name: 'a' }])).toEqual([
    expect.stringMatching('volumes/0/path: must be given'),
  ]);
  expect(refusals('microvm', [{ name: 'a' }])).toEqual([expect.stringMatching('^volumes: only')]);
});

it.each(['/proc/x', '/dev', '/etc/hosts', '/run/secrets', '/run/secrets/a', '/a/../b'])(
  'a volume is not at %s',
  (path) => {
    expect(refusals('container', [{ name: 'a', path }])).toHaveLength(1);
  },
);

it('a volume hides nothing else that was asked for', () => {
  const at = (path: string, more: object) => refusals('container', [{ name: 'a', path }], more);
  expect(at('/a', { security: { tmpfs: [{ path: '/a/b', sizeMiB: 1, mode: '1777' }] } })).toHaveLength(1);
  expect(at('/a/b', { security: { tmpfs: [{ path: '/a', sizeMiB: 1, mode: '1777' }] } })).toEqual([]);
  expect(at('/a', { secrets: [{ name: 's', path: '/a', mode: '0400', uid: 0, gid: 0 }] })).toHaveLength(1);
  const two = [
    { name: 'a', path: '/a' },
    { name: 'b', path: '/a' },
  ];
  expect(refusals('container', two)).toEqual([expect.stringMatching('volumes/1/path')]);
});
