import { expect, it } from 'vitest';
import { checkHostPaths, HostPathUses } from './host-path.js';

const refusals = (hostPaths: unknown[], more: object = {}): string[] => {
  const said: string[] = [];
  const spec = { isolation: 'container', volumes: [], hostPaths: HostPathUses.parse(hostPaths), ...more };
  checkHostPaths(spec, (path, message) => said.push(`${path.join('/')}: ${message}`));
  return said;
};
const use = (path: string, more: object = {}) => ({ name: 'data', path, ...more });

it('host paths are for containers, read-only unless it is said', () => {
  expect(HostPathUses.parse([use('/data')])).toEqual([{ name: 'data', path: '/data', readOnly: true }]);
  expect(refusals([use('/data', { subPath: 'a/..b/c.d' }), use('/other')])).toEqual([]);
  for (const isolation of ['vm', 'microvm'])
    expect(refusals([use('/data')], { isolation })).toEqual([
      expect.stringMatching(/^hostPaths: only for isolation container/),
    ]);
  expect(refusals([], { isolation: 'vm' })).toEqual([]);
});

it.each(['..', 'a/../b', 'a/..', './a', 'a/.', '/etc', '', 'a//b', 'a/', 'a b', 'a\0', 'ä'])(
  'what is no path below an offer is refused: %j',
  (subPath) => {
    expect(HostPathUses.safeParse([use('/data', { subPath })]).success).toBe(false);
  },
);

it.each([
  ['/proc/x', {}, 'directory of the kernel'],
  ['/data/../etc', {}, '".."'],
  ['/etc', {}, 'files that its host writes'],
  ['/etc/hosts/x', {}, 'files that its host writes'],
  ['/run', {}, 'where secrets are'],
  ['/run/secrets/a', {}, 'where secrets are'],
  ['/data', { volumes: [{ name: 'v', readOnly: false, path: '/data/in' }] }, 'a volume'],
  ['/data/in', { volumes: [{ name: 'v', readOnly: false, path: '/data' }] }, 'a volume'],
  ['/data', { security: { tmpfs: [{ path: '/data/tmp', sizeMiB: 1, mode: '1777' }] } }, 'tmpfs'],
  ['/srv', { secrets: [{ name: 's', path: '/srv/key', mode: '0400', uid: 0, gid: 0 }] }, 'a secret'],
])('%s is no place beside %j', (path, more, words) => {
  expect(refusals([use(path)], more)).toEqual([expect.stringMatching(`^hostPaths/0/path: .*${words}`)]);
});

it('none lies in another', () => {
  for (const two of [
    ['/a', '/a/b'],
    ['/a/b', '/a'],
    ['/a', '/a'],
  ])
    expect(refusals(two.map((path) => use(path)))).toEqual([expect.stringMatching(/^hostPaths\/1\/path: /)]);
  expect(refusals([use('/a'), use('/ab')])).toEqual([]);
});
