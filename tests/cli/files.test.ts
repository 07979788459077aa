import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError } from '@berth/model';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { CliLab } from './lab.js';

const machine = { isolation: 'vm', image: 'disk', vcpus: 1, memoryMiB: 64, rootDisk: { sizeMiB: 64 } };
const bytes = randomBytes(300_000);

let lab: CliLab;
beforeAll(async () => {
  lab = await CliLab.start();
  const specs = {
    vm: { ...machine, userData: '#sim:agent' },
    box: { isolation: 'container', image: 'oci', memoryMiB: 64 },
  };
  for (const [name, spec] of Object.entries(specs))
    await lab.api.call('post', '/v1/projects/alpha/instances?wait=10').send({ name, spec }).expect(202);
  await writeFile(join(lab.dir, 'local.bin'), bytes, { mode: 0o751 });
  await mkdir(join(lab.dir, 'folder'));
}, 120_000);
afterEach(() => {
  lab.files.refusal = null;
  lab.files.breaks = false;
});
afterAll(() => lab.stop());

describe('berth cp', () => {
  test('copies a file into a VM with its permissions, or others, and out again', async () => {
    const into = await lab.run('chmod 0751 local.bin; berth cp local.bin vm:/srv/it');
    expect(into).toMatchObject({ code: 0, out: '', err: 'vm:/srv/it has 293.0 KiB\n' });
    const held = lab.files.held.get('vm:/srv/it');
    expect([held?.mode, held?.bytes.equals(bytes)]).toEqual(['0751', true]);
    expect((await lab.run('berth cp --mode 0600 local.bin vm:/srv/it')).code).toBe(0);
    expect(lab.files.held.get('vm:/srv/it')?.mode).toBe('0600');
    expect((await lab.run('berth cp vm:/srv/it back.bin')).code).toBe(0);
    expect((await readFile(join(lab.dir, 'back.bin'))).equals(bytes)).toBe(true);
    expect((await lab.run('berth cp vm:/srv/it folder')).code).toBe(0);
    expect((await readFile(join(lab.dir, 'folder/it'))).equals(bytes)).toBe(true);
  });

  test('copies from the standard input and to the standard output', async () => {
    expect((await lab.run('printf hello | berth cp - vm:/etc/motd')).code).toBe(0);
    expect(lab.files.held.get('vm:/etc/motd')).toEqual({ bytes: Buffer.from('hello'), mode: '0600' });
    expect(await lab.run('berth cp vm:/etc/motd -')).toMatchObject({ code: 0, out: 'hello', err: '' });
  });

  test('leaves no half a file where the copy breaks off', async () => {
    lab.files.breaks = true;
    const before = await readdir(lab.dir);
    expect((await lab.run('berth cp vm:/etc/hostname half')).code).not.toBe(0);
    expect(await readdir(lab.dir)).toEqual(before);
  });

  test('says what the guest refused', async () => {
    lab.files.refusal = new BerthError('fileRefused', 'the guest refused /srv: No space left on device');
    const { code, err } = await lab.run('berth cp local.bin vm:/srv/it');
    expect([code, err]).toEqual([5, expect.stringContaining('No space left on device')]);
  });
});

test.each([
  ['berth cp local.bin back.bin', 2, 'one of the two is in an instance'],
  ['berth cp vm:/a vm:/b', 2, 'one of the two is in an instance'],
  ['berth cp vm:etc/hostname -', 2, 'no absolute path'],
  ['berth cp local.bin vm:/srv/', 2, 'Name the file itself'],
  ['berth cp folder vm:/srv/folder', 2, 'is a directory, and cp copies one file'],
  ['berth cp none.bin vm:/srv/it', 1, 'cannot read none.bin'],
  ['berth cp vm:/etc/hostname /no/such/place', 1, 'cannot write /no/such/place'],
  ['berth cp --mode 0644 vm:/etc/hostname x', 2, '--mode is for copies into an instance'],
  ['berth cp --mode rw local.bin vm:/srv/it', 5, 'must be octal'],
  ['berth cp vm:/etc/nothing x', 4, 'has no /etc/nothing'],
  ['berth cp box:/etc/hostname x', 5, 'berth exec'],
  ['berth cp nobody:/etc/hostname x', 4, 'nobody'],
  ['berth freeze box', 5, 'is a container'],
  ['berth freeze vm --seconds 90', 5, '60'],
])('%s ends with %i', async (line, code, says) => {
  expect(await lab.run(line)).toMatchObject({ code, err: expect.stringContaining(says) });
});
