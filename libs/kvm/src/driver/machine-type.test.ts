import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '@berth/linux';
import type { VolumeId } from '@berth/model';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { machineTypeOf, readMachineTypes } from './machine-type.js';

let dir: string;
beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), 'berth-type-'))));
afterEach(() => rmSync(dir, { recursive: true }));

const path = (): string => join(dir, 'machine-type');
const help = (newest: string, ...older: string[]): string =>
  [
    'Supported machines are:',
    'microvm              microvm (i386)',
    `q35                  Standard PC (Q35 + ICH9, 2009) (alias of ${newest})`,
    ...[newest, ...older].map((name) => `${name}           Standard PC (Q35 + ICH9, 2009)`),
  ].join('\n');
const typeUnder = (text: string): Promise<string> =>
  machineTypeOf(randomUUID() as VolumeId, { machineTypePath: path }, () =>
    Promise.resolve(readMachineTypes(text)),
  );

it('is the newest at first, and stays through every later QEMU that has it', async () => {
  expect(await typeUnder(help('pc-q35-7.2', 'pc-q35-6.2'))).toBe('pc-q35-7.2');
  expect(statSync(path()).mode & 0o777).toBe(0o600);
  expect(await typeUnder(help('pc-q35-10.0', 'pc-q35-7.2'))).toBe('pc-q35-7.2');
});

it('is refused by name where QEMU has it not, and what is written down stays', async () => {
  await typeUnder(help('pc-q35-7.2'));
  await expect(typeUnder(help('pc-q35-6.2'))).rejects.toMatchObject({
    code: 'hostFault',
    message: expect.stringContaining('pc-q35-7.2') as string,
    remedy: expect.stringContaining(path()) as string,
  });
  writeFileSync(path(), 'q35,accel=kvm\n');
  await expect(typeUnder(help('pc-q35-7.2'))).rejects.toMatchObject({ code: 'hostFault' });
  expect(readFileSync(path(), 'utf8')).toBe('q35,accel=kvm\n');
});

it('is read from what the QEMU of this host says', async () => {
  const { stdout } = await run('qemu-system-x86_64', ['-machine', 'help']);
  const { newest, all } = readMachineTypes(stdout);
  expect(newest).toMatch(/^pc-q35-\d+\.\d+$/);
  expect([all.has(newest), all.has('q35'), all.has('Supported')]).toEqual([true, true, false]);
  expect(() => readMachineTypes('Supported machines are:\nnone   empty machine')).toThrow('no machine q35');
});
