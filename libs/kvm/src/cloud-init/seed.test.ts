import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '@berth/linux';
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
