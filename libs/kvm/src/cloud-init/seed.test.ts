import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '@berth/linux';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { seedFiles, writeSeedIso } from './seed.js';

const content = {
  instanceId: 'i-1',
  hostname: 'web',
  userData: '#!/bin/sh\necho "ü: & <x>"\n',
  macs: ['52:54:00:01:02:03'],
};

it('writes meta data and network as YAML and takes user data as it is', () => {
  const files = seedFiles({ ...content, hostname: 'yes' });
  expect(parse(files['meta-data'] ?? '')).toEqual({ 'instance-id': 'i-1', 'local-hostname': 'yes' });
  expect(parse(files['network-config'] ?? '')).toEqual({
    version: 2,
    ethernets: { nic0: { match: { macaddress: '52:54:00:01:02:03' }, dhcp4: true } },
  });
  expect(files['user-data']).toBe(content.userData);
});

it('makes an ISO with the volume id cidata and the files in it, and leaves nothing beside it', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'berth-seed-'));
  const path = join(dir, 'seed.iso');
  await writeSeedIso(path, content);
  await writeSeedIso(path, content);
  expect(readdirSync(dir)).toEqual(['seed.iso']);
  expect((await run('isoinfo', ['-d', '-i', path])).stdout).toContain('Volume id: cidata');
  expect((await run('isoinfo', ['-R', '-i', path, '-x', '/user-data'])).stdout).toBe(content.userData);
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

it('10,000 names and addresses come back as the strings they are from a reader of YAML 1.1, which cloud-init has', () => {
  fc.assert(
    fc.property(
      word,
      word,
      fc.array(word, { maxLength: 3 }),
      fc.string(),
      (instanceId, hostname, macs, userData) => {
        const files = seedFiles({ instanceId, hostname, macs, userData });
        const read = (name: string): unknown => parse(files[name] ?? '', { version: '1.1' });
        expect(read('meta-data')).toEqual({ 'instance-id': instanceId, 'local-hostname': hostname });
        const ethernets = macs.map((macaddress, i) => [`nic${i}`, { match: { macaddress }, dhcp4: true }]);
        expect(read('network-config')).toEqual({ version: 2, ethernets: Object.fromEntries(ethernets) });
        expect(files['user-data']).toBe(userData);
      },
    ),
    { numRuns: 10_000 },
  );
});
