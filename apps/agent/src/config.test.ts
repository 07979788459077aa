import { expect, it } from 'vitest';
import { ConfigError, readConfig } from './config.js';

it('names every bad key at once, with its variable', () => {
  const bad = (): unknown =>
    readConfig('apiLink: nowhere\nhostName: Not_A_Name\ncolour: red\n', {
      BERTH_CAPACITY_MEMORY_MIB: 'much',
    });
  expect(bad).toThrow(ConfigError);
  try {
    bad();
  } catch (e) {
    const text = (e as Error).message;
    for (const part of [
      'BERTH_API_LINK',
      'BERTH_HOST_NAME',
      'colour: unknown key',
      'BERTH_CAPACITY_MEMORY_MIB',
    ])
      expect(text).toContain(part);
  }
});

it('lets the environment win over the file, and puts every path below the root', () => {
  const settings = readConfig('apiLink: a:1\nhostName: one\n', {
    BERTH_API_LINK: '[::1]:7071',
    BERTH_ROOT: '/lab/h1',
    BERTH_HOST_LABELS: 'zone=a,disk=fast',
    BERTH_CAPACITY_CPU_MILLIS: '2000',
    BERTH_VM_STARTS: '7',
  });
  expect(settings).toMatchObject({
    apiLink: '[::1]:7071',
    hostName: 'one',
    stateDir: '/lab/h1/var/lib/berth',
    runDir: '/lab/h1/run/berth',
    labels: { zone: 'a', disk: 'fast' },
    capacity: { cpuMillis: 2000 },
    vmStarts: 7,
  });
});

it('gives containers files of lxcfs unless it says otherwise', () => {
  expect([readConfig(null, {}).lxcfs, readConfig('lxcfs: false\n', {}).lxcfs]).toEqual([true, false]);
  expect(readConfig('lxcfs: true\n', { BERTH_LXCFS: 'false' }).lxcfs).toBe(false);
  expect(() => readConfig(null, { BERTH_LXCFS: 'no' })).toThrow(/lxcfs \(BERTH_LXCFS\)/);
});

it('takes a list of devices by name, and no path that is not below /dev', () => {
  const devices = { fuse: '/dev/fuse', tun: '/dev/net/tun' };
  expect(readConfig(`devices: ${JSON.stringify(devices)}\n`, {}).devices).toEqual(devices);
  expect(readConfig(null, { BERTH_DEVICES: 'fuse=/dev/fuse,tun=/dev/net/tun' }).devices).toEqual(devices);
  expect(readConfig(null, {}).devices).toEqual({});
  for (const path of [
    '/etc/passwd',
    'dev/fuse',
    '/dev',
    '/dev/',
    '/dev/../etc/passwd',
    '/dev/a/./b',
    '/dev//kvm',
  ])
    expect(() => readConfig(null, { BERTH_DEVICES: `x=${path}` }), path).toThrow(/devices/);
  expect(() => readConfig('devices: { "a/b": /dev/fuse }\n', {})).toThrow(/devices/);
});

it('takes a list of directories by name, read-only unless it says so, and no path with a way out', () => {
  const hostPaths = { data: { path: '/srv/data', mode: 'ro' }, spool: { path: '/var/spool/x', mode: 'rw' } };
  expect(readConfig(null, { BERTH_HOST_PATHS: 'data=/srv/data,spool=/var/spool/x:rw' }).hostPaths).toEqual(
    hostPaths,
  );
  expect(readConfig('hostPaths: { data: { path: /srv/data, projects: [a] } }\n', {}).hostPaths).toEqual({
    data: { path: '/srv/data', mode: 'ro', projects: ['a'] },
  });
  for (const value of ['srv', '/', '/srv/', '/srv/../etc', '/srv//x', '/srv/.', '/srv:rx', ''])
    expect(() => readConfig(null, { BERTH_HOST_PATHS: `x=${value}` }), value).toThrow(/hostPaths/);
  for (const text of ['{ "a/b": { path: /srv } }', '{ a: /srv }', '{ a: { path: /srv, projects: [] } }'])
    expect(() => readConfig(`hostPaths: ${text}\n`, {}), text).toThrow(/hostPaths/);
});

it('offers both VM drivers, or the ones it is told', () => {
  expect(readConfig(null, { BERTH_AGENT_RUNTIME: 'qemu,oci' }).runtimes).toEqual(['qemu', 'oci']);
  expect(readConfig(null, {}).runtimes).toEqual(['libvirt', 'qemu', 'oci', 'microvm']);
  expect(() => readConfig('runtimes: [xen]\n', {})).toThrow(/runtimes/);
});
