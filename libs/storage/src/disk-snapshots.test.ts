import { execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  mkdtempSync,
  openSync,
  closeSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { VolumeId } from '@berth/model';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { VolumePool } from './volume-pool.js';

let dir: string;
let pool: VolumePool;
let volumeId: VolumeId;
let path: string;
const id = (): VolumeId => VolumeId.parse(randomUUID());

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'berth-snapshots-'));
  pool = new VolumePool({ dir: join(dir, 'volumes'), reserveMiB: 1 });
  const base = { path: join(dir, 'base.raw'), format: 'raw' } as const;
  writeFileSync(base.path, Buffer.alloc(2 ** 20, 'B'));
  volumeId = id();
  path = (await pool.ensureOverlayDisk({ volumeId, base, sizeMiB: 8 })).path;
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const io = (command: string): void =>
  void execFileSync('qemu-io', ['-f', 'qcow2', '-c', command, path], { stdio: 'pipe' });
function content(): Buffer {
  const out = join(dir, 'seen');
  execFileSync('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', path, out]);
  return readFileSync(out);
}
const sound = (): void => void execFileSync('qemu-img', ['check', '-q', path]);

it('brings back what was there, also where the disk grew since, and any number of times', async () => {
  io('write -q -P 0x11 0 3M');
  const first = content();
  await pool.snapshot(volumeId, 'take', 'first');
  io('write -q -P 0x22 1M 4M');
  await pool.grow(volumeId, 16);
  const second = content();
  await pool.snapshot(volumeId, 'take', 'second');
  io('write -q -P 0x33 0 16M');
  for (let n = 0; n < 2; n += 1) {
    await pool.snapshot(volumeId, 'revert', 'first');
    expect(content().equals(first)).toBe(true);
    sound();
    await pool.snapshot(volumeId, 'revert', 'second');
    expect(content().equals(second)).toBe(true);
    sound();
  }
  await pool.snapshot(volumeId, 'revert', 'first');
  expect(await pool.grow(volumeId, 16)).toBe(16);
  expect(content().subarray(0, first.length).equals(first)).toBe(true);
  expect(
    content()
      .subarray(first.length)
      .equals(Buffer.alloc(8 * 2 ** 20)),
  ).toBe(true);
  sound();
});

it('takes one anew that is there already, and lets go of it as often as it is asked', async () => {
  await pool.snapshot(volumeId, 'take', 'one');
  io('write -q -P 0x44 0 64k');
  const before = content();
  await pool.snapshot(volumeId, 'take', 'one');
  io('write -q -P 0x55 0 64k');
  expect(await pool.hasSnapshot(volumeId, 'one')).toBe(true);
  await pool.snapshot(volumeId, 'revert', 'one');
  expect(content().equals(before)).toBe(true);
  for (let n = 0; n < 2; n += 1) await pool.snapshot(volumeId, 'remove', 'one');
  expect(await pool.hasSnapshot(volumeId, 'one')).toBe(false);
  expect(content().equals(before)).toBe(true);
  await expect(pool.snapshot(volumeId, 'revert', 'one')).rejects.toMatchObject({ code: 'noSuchSnapshot' });
  expect(content().equals(before)).toBe(true);
  sound();
  expect([statSync(path).uid, statSync(dirname(path)).uid]).toEqual([0, 0]);
});

it('gives the room back that only a snapshot held', async () => {
  const blocks = (): number => statSync(path).blocks;
  io('write -q -P 0x11 0 6M');
  await pool.snapshot(volumeId, 'take', 'one');
  const once = blocks();
  io('write -q -P 0x22 0 6M');
  expect(blocks() - once).toBeGreaterThan((5 * 2 ** 20) / 512);
  await pool.snapshot(volumeId, 'remove', 'one');
  expect(blocks() - once).toBeLessThan(2 ** 20 / 512);
});

it('refuses where there is nothing to hold one, and removes nothing from what is not there', async () => {
  const raw = id();
  await pool.ensureDataDisk({ volumeId: raw, format: 'raw', sizeMiB: 1 });
  await expect(pool.snapshot(raw, 'take', 'one')).rejects.toMatchObject({ code: 'unsupported' });
  await expect(pool.snapshot(id(), 'take', 'one')).rejects.toMatchObject({ code: 'kindMismatch' });
  await pool.snapshot(id(), 'remove', 'one');
});

it('leads no program to another file, whatever a guest wrote into its header', async () => {
  const features = Buffer.alloc(8);
  features.writeBigUInt64BE(1n << 2n);
  const fd = openSync(path, 'r+');
  writeSync(fd, features, 0, 8, 72);
  closeSync(fd);
  for (const verb of ['take', 'revert', 'remove'] as const)
    await expect(pool.snapshot(volumeId, verb, 'one')).rejects.toMatchObject({
      code: 'hostFault',
      message: expect.stringMatching(/features 0x4/) as string,
    });
});

it('fails where a QEMU has the disk, and leaves it as it is', async () => {
  const holder = spawn('qemu-io', ['-f', 'qcow2', path], { stdio: ['pipe', 'pipe', 'inherit'] });
  await new Promise<void>((resolve) => holder.stdout.once('data', () => resolve()));
  await expect(pool.snapshot(volumeId, 'take', 'one')).rejects.toMatchObject({
    code: 'hostFault',
    message: expect.stringMatching(/lock/) as string,
  });
  const over = new Promise((resolve) => holder.once('close', resolve));
  holder.stdin.end('quit\n');
  await over;
  await pool.snapshot(volumeId, 'take', 'one');
});
