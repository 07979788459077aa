import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VolumeId, type DiskFormat } from '@berth/model';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { VolumePool } from './volume-pool.js';

let dir: string;
let pool: VolumePool;
const id = (): VolumeId => VolumeId.parse(randomUUID());

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-export-'));
  pool = new VolumePool({ dir: join(dir, 'volumes'), reserveMiB: 1 });
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const io = (file: string, format: DiskFormat, ...commands: string[]): void =>
  void execFileSync('qemu-io', ['-f', format, ...commands.flatMap((c) => ['-c', c]), file], {
    stdio: 'pipe',
  });
function content(file: string, format: DiskFormat): Buffer {
  const out = join(dir, 'seen');
  execFileSync('qemu-img', ['convert', '-f', format, '-O', 'raw', file, out]);
  return readFileSync(out);
}
const volumesHere = (): string[] => readdirSync(join(dir, 'volumes')).sort();
async function made(format: DiskFormat): Promise<{ volumeId: VolumeId; path: string }> {
  const volumeId = id();
  const { path } = await pool.ensureDataDisk({ volumeId, format, sizeMiB: 16 });
  io(path, format, 'write -q -P 0x11 1M 64k', 'write -q -P 0x12 10M 128k');
  return { volumeId, path };
}
/** The file of an export, which is what the pool says of it, for root only, and tells nothing of this host. */
async function sound(volumeId: VolumeId, format: DiskFormat): Promise<string> {
  const file = (await pool.exportedFile(volumeId)) ?? expect.fail('no export');
  const bytes = readFileSync(file.path);
  expect(bytes.length).toBe(file.sizeBytes);
  expect(createHash('sha256').update(bytes).digest('hex')).toBe(file.sha256);
  const { uid, gid, mode } = statSync(file.path);
  expect([uid, gid, mode & 0o777]).toEqual([0, 0, 0o600]);
  if (format === 'raw') return file.path;
  execFileSync('qemu-img', ['check', '-q', file.path]);
  const info = JSON.parse(
    execFileSync('qemu-img', ['info', '--output=json', file.path], { encoding: 'utf8' }),
  ) as Record<string, unknown>;
  expect(Object.keys(info).filter((key) => /backing|snapshots/.test(key))).toEqual([]);
  expect(JSON.stringify(info['format-specific'])).not.toMatch(/data-file|bitmaps|encrypt/);
  expect(bytes.includes(dir)).toBe(false);
  return file.path;
}

it.each([
  ['qcow2', 'qcow2'],
  ['qcow2', 'raw'],
  ['raw', 'qcow2'],
  ['raw', 'raw'],
] as const)('what a %s holds is exported as %s, by itself', async (from, format) => {
  const source = await made(from);
  if (from === 'qcow2') await pool.snapshot(source.volumeId, 'take', 'one');
  const then = content(source.path, from);
  const volumeId = id();
  const order = { volumeId, sourceId: source.volumeId, format, sizeMiB: 16 };
  const told = await pool.exportDataDisk(order);
  const path = await sound(volumeId, format);
  expect(content(path, format).equals(then)).toBe(true);
  expect(statSync(path).blocks * 512).toBeLessThan(2 * 2 ** 20);
  // A repeat of the order finds it whole, whatever the volume holds by now.
  io(source.path, from, 'write -q -P 0x31 1M 64k');
  expect(await pool.exportDataDisk(order)).toEqual(told);
  // It is no disk: nothing grows it, takes snapshots of it or makes another one of it.
  const third = { ...order, volumeId: id(), sourceId: volumeId };
  for (const work of [
    (): Promise<unknown> => pool.grow(volumeId, 32),
    (): Promise<unknown> => pool.snapshot(volumeId, 'take', 'x'),
    (): Promise<unknown> => pool.exportDataDisk(third),
    (): Promise<unknown> => pool.cloneDataDisk(third),
    (): Promise<unknown> => pool.ensureDataDisk({ volumeId, format, sizeMiB: 16 }),
  ])
    await expect(work()).rejects.toMatchObject({ code: 'kindMismatch' });
  expect(await pool.exportedFile(source.volumeId)).toBeNull();
  await pool.remove(volumeId);
  expect(await pool.exportedFile(volumeId)).toBeNull();
  expect(volumesHere()).toEqual([source.volumeId]);
});

it.each(['qcow2', 'raw'] as const)(
  'a snapshot of a disk that is being written is exported as %s, as it was then',
  async (format) => {
    const source = await made('qcow2');
    const then = content(source.path, 'qcow2');
    await pool.snapshot(source.volumeId, 'take', 'one');
    const writer = spawn('qemu-io', ['-f', 'qcow2', source.path], { stdio: ['pipe', 'pipe', 'ignore'] });
    try {
      // It has the file open, and its lock, for as long as its input lasts.
      writer.stdin.write('write -P 0x77 1M 1M\nflush\n');
      await once(writer.stdout, 'data');
      const order = { sourceId: source.volumeId, format, sizeMiB: 16 };
      const volumeId = id();
      await pool.exportDataDisk({ ...order, volumeId, snapshot: 'one' });
      expect(content(await sound(volumeId, format), format).equals(then)).toBe(true);
      // What it holds now is not to be had while somebody writes it, and nothing of the try is left.
      await expect(pool.exportDataDisk({ ...order, volumeId: id() })).rejects.toMatchObject({
        code: 'hostFault',
      });
      await expect(pool.exportDataDisk({ ...order, volumeId: id(), snapshot: 'two' })).rejects.toMatchObject({
        code: 'noSuchSnapshot',
      });
      expect(volumesHere()).toEqual([source.volumeId, volumeId].sort());
    } finally {
      writer.stdin.end();
      await once(writer, 'close');
    }
  },
);

it('is refused where the pool has no room for it, and given up by its signal, with nothing left', async () => {
  const source = await made('qcow2');
  const order = { volumeId: id(), sourceId: source.volumeId, format: 'qcow2', sizeMiB: 16 } as const;
  const full = new VolumePool({ dir: join(dir, 'volumes'), reserveMiB: 2 ** 40 });
  await expect(full.exportDataDisk(order)).rejects.toMatchObject({ code: 'noSpace' });
  const giveUp = new AbortController();
  giveUp.abort(new Error('not wanted'));
  await expect(pool.exportDataDisk({ ...order, signal: giveUp.signal })).rejects.toThrow('not wanted');
  expect(volumesHere()).toEqual([source.volumeId]);
});
