import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '@berth/linux';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { seedOf, writeSeedIso } from './seed.js';

const nic = { mac: '52:54:00:01:02:03', address: '10.0.0.2/24', gateway: '10.0.0.1' };
const content = {
  instanceId: 'i-1',
  hostname: 'web',
  userData: '#!/bin/sh\necho "ü: & <x>"\n',
  login: undefined,
  nics: [nic, { mac: '52:54:00:01:02:04', address: '10.0.1.2/24', gateway: '10.0.1.1' }],
};

it('states addresses and way out of IPv6 as they were given, and listens to no router', () => {
  const ipv6 = [1, 2].map((n) => ({ address: `fd00:${n}::2/64`, gateway: `fd00:${n}::1` }));
  const nics = content.nics.map((one, i) => ({ ...one, ipv6: ipv6[i]! }));
  const { ethernets } = parse(seedOf({ ...content, nics }).networkConfig) as { ethernets: object };
  expect(ethernets).toMatchObject({
    eth0: {
      addresses: ['10.0.0.2/24', 'fd00:1::2/64'],
      routes: [
        { to: '0.0.0.0/0', via: '10.0.0.1' },
        { to: '::/0', via: 'fd00:1::1' },
      ],
      'accept-ra': false,
    },
    eth1: { addresses: ['10.0.1.2/24', 'fd00:2::2/64'], 'accept-ra': false },
  });
  expect(ethernets).not.toHaveProperty('eth1.routes');
});

it('writes meta data and network as YAML and takes user data as it is', () => {
  const seed = seedOf({ ...content, hostname: 'yes' });
  expect(parse(seed.metaData)).toEqual({ 'instance-id': 'i-1', 'local-hostname': 'yes' });
  expect(parse(seed.networkConfig)).toEqual({
    version: 2,
    ethernets: {
      eth0: {
        match: { macaddress: '52:54:00:01:02:03' },
        'set-name': 'eth0',
        addresses: ['10.0.0.2/24'],
        routes: [{ to: '0.0.0.0/0', via: '10.0.0.1' }],
        nameservers: { addresses: ['10.0.0.1'] },
      },
      eth1: {
        match: { macaddress: '52:54:00:01:02:04' },
        'set-name': 'eth1',
        addresses: ['10.0.1.2/24'],
      },
    },
  });
  expect(seed.userData).toBe(content.userData);
  expect(seed.vendorData).toBeNull();
});

it('makes an ISO with the volume id cidata and the files in it, and leaves nothing beside it', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'berth-seed-'));
  const path = join(dir, 'seed.iso');
  const seed = seedOf({ ...content, login: { sshKeys: ['ssh-ed25519 AAAA'] } });
  await writeSeedIso(path, seed);
  await writeSeedIso(path, seed);
  expect(readdirSync(dir)).toEqual(['seed.iso']);
  expect((await run('isoinfo', ['-d', '-i', path])).stdout).toContain('Volume id: cidata');
  const file = async (name: string) => (await run('isoinfo', ['-R', '-i', path, '-x', `/${name}`])).stdout;
  expect(await file('user-data')).toBe(content.userData);
  expect(parse(await file('vendor-data'))).toEqual({ ssh_authorized_keys: ['ssh-ed25519 AAAA'] });
  rmSync(dir, { recursive: true });
});

const word = fc.oneof(
  fc.constantFrom(
    'yes',
    'no',
    'on',
    'off',
    'y',
    'null',
    'true',
    '~',
    '1e3',
    '0x1f',
    '0777',
    '12:30',
    '52:54:00:11:12:13',
  ),
  fc.constantFrom(
    '2001-01-01',
    '.inf',
    '=',
    '<<',
    '!!str x',
    '&a',
    '*a',
    '- x',
    'a: b',
    'a #b',
    '%x',
    '@',
    '`',
    '|',
    '>',
    '',
  ),
  fc.stringMatching(/^[a-z0-9.:_-]{1,20}$/),
  fc.string({ unit: 'grapheme', maxLength: 30 }),
  fc.string({
    unit: fc.constantFrom('\n', '\r', '\t', ' ', ':', '#', '"', "'", '\\', '{', '}', '\u0085', '\u2028', 'a'),
  }),
);

it('4,000 names and addresses come back as the strings they are from a reader of YAML 1.1, which cloud-init has', () => {
  const nics = fc.array(fc.record({ mac: word, address: word, gateway: word }), { maxLength: 3 });
  fc.assert(
    fc.property(word, word, nics, fc.string(), (instanceId, hostname, nics, userData) => {
      const seed = seedOf({ instanceId, hostname, nics, userData, login: undefined });
      const read = (text: string): unknown => parse(text, { version: '1.1' });
      expect(read(seed.metaData)).toEqual({ 'instance-id': instanceId, 'local-hostname': hostname });
      const ethernets = nics.map(({ mac, address, gateway }, i) => [
        `eth${i}`,
        {
          match: { macaddress: mac },
          'set-name': `eth${i}`,
          addresses: [address],
          ...(i === 0
            ? { routes: [{ to: '0.0.0.0/0', via: gateway }], nameservers: { addresses: [gateway] } }
            : {}),
        },
      ]);
      expect(read(seed.networkConfig)).toEqual({ version: 2, ethernets: Object.fromEntries(ethernets) });
      expect(seed.userData).toBe(userData);
    }),
    { numRuns: 4_000 },
  );
});
