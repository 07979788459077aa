import { execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VolumeId } from '@berth/model';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { VolumePool } from './volume-pool.js';

let dir: string;
let pool: VolumePool;
let from: VolumeId;
let path: string;
const base = () => ({ path: join(dir, 'base.raw'), format: 'raw' as const });
const id = (): VolumeId => VolumeId.parse(randomUUID());

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'berth-copy-'));
  pool = new VolumePool({ dir: join(dir, 'volumes'), reserveMiB: 1 });
  writeFileSync(base().path, Buffer.alloc(4 * 2 ** 20, 'B'));
  from = id();
  path = (await pool.ensureOverlayDisk({ volumeId: from, base: base(), sizeMiB: 8 })).path;
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const io = (file: string, ...commands: string[]): void =>
  void execFileSync('qemu-io', ['-f', 'qcow2', ...commands.flatMap((c) => ['-c', c]), file], {
    stdio: 'pipe',
  });
function content(file: string): Buffer {
  const out = join(dir, 'seen');
  execFileSync('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', file, out]);
  return readFileSync(out);
}
/** Whether the disk is sound, holds no snapshot, and can be reached by nobody but root. */
function whole(file: string): void {
  execFileSync('qemu-img', ['check', '-q', file]);
  expect(execFileSync('qemu-img', ['snapshot', '-l', file], { encoding: 'utf8' })).toBe('');
  const { uid, gid, mode } = statSync(file);
  expect([uid, gid, mode & 0o777]).toEqual([0, 0, 0o600]);
}
function linkOf(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}
/** Files of the pool that are no volume, or in a volume and no part of it. */
const strays = (): string[] =>
  readdirSync(join(dir, 'volumes'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    /work|source|nothing/.test(name),
  );
const copied = (sizeMiB: number) =>
  pool.ensureOverlayDisk({
    volumeId: id(),
    base: base(),
    sizeMiB,
    source: { volumeId: from, snapshot: 'one' },
  });

it("begins as the snapshot was, holds only what that held beside its base, and is nobody else's part", async () => {
  io(path, 'write -q -P 0x11 1M 64k', 'write -q -z 2M 64k', 'write -q -P 0x12 6M 64k');
  const then = content(path);
  await pool.snapshot(from, 'take', 'one');
  io(path, 'write -q -P 0x21 1M 64k', 'write -q -P 0x22 3M 64k');
  await pool.snapshot(from, 'take', 'two');
  const now = content(path);
  const copy = await copied(16);
  whole(copy.path);
  expect(content(copy.path).equals(Buffer.concat([then, Buffer.alloc(8 * 2 ** 20)]))).toBe(true);
  // What the base has is not copied.
  expect(statSync(copy.path).blocks * 512).toBeLessThan(2 ** 20);
  expect(execFileSync('qemu-img', ['info', copy.path], { encoding: 'utf8' })).toContain(base().path);
  expect([content(path).equals(now), statSync(path).mode & 0o777, statSync(path).gid]).toEqual([
    true,
    0o600,
    0,
  ]);
  await pool.remove(from);
  io(copy.path, 'write -q -P 0x31 1M 64k');
  const kept = content(copy.path).subarray(6 * 2 ** 20, 6 * 2 ** 20 + 65_536);
  expect(kept.equals(Buffer.alloc(65_536, 0x12))).toBe(true);
  expect(strays()).toEqual([]);
});

it('is made of a disk that a QEMU has open and writes, which keeps it', async () => {
  io(path, 'write -q -P 0x11 1M 64k');
  const then = content(path);
  await pool.snapshot(from, 'take', 'one');
  execFileSync('chown', ['12345:12345', path]);
  const writer = spawn(
    'qemu-io',
    ['-f', 'qcow2', '-c', 'write -q -P 0x21 1M 64k', '-c', 'sleep 30000', path],
    {
      stdio: 'ignore',
    },
  );
  const opened = (): boolean =>
    readdirSync(`/proc/${writer.pid}/fd`).some((fd) => linkOf(`/proc/${writer.pid}/fd/${fd}`) === path);
  try {
    await vi.waitFor(() => expect(opened()).toBe(true), { timeout: 15_000 });
    const copy = await copied(8);
    expect(content(copy.path).equals(then)).toBe(true);
    const { uid, mode } = statSync(path);
    expect([uid, mode & 0o777]).toEqual([12345, 0o600]);
  } finally {
    writer.kill('SIGKILL');
    await once(writer, 'exit');
  }
});

it('is no smaller than its source is by now', async () => {
  await pool.snapshot(from, 'take', 'one');
  await pool.grow(from, 12);
  const { path: file } = await copied(8);
  expect(content(file).length).toBe(12 * 2 ** 20);
});

it('is made of a data volume, which no base hides', async () => {
  const source = id();
  const { path: data } = await pool.ensureDataDisk({ volumeId: source, format: 'qcow2', sizeMiB: 4 });
  io(data, 'write -q -P 0x41 1M 64k');
  const then = content(data);
  await pool.snapshot(source, 'take', 'one');
  io(data, 'write -q -P 0x42 1M 64k');
  const want = { volumeId: id(), sizeMiB: 4, source: { volumeId: source, snapshot: 'one' } };
  const copy = await pool.ensureDataDisk({ ...want, format: 'qcow2' });
  whole(copy.path);
  expect(content(copy.path).equals(then)).toBe(true);
  await expect(pool.ensureDataDisk({ ...want, volumeId: id(), format: 'raw' })).rejects.toMatchObject({
    code: 'unsupported',
  });
  expect(strays()).toEqual([]);
});

it('is refused of what is not there, and of a disk on another image; then nothing is left', async () => {
  await pool.snapshot(from, 'take', 'one');
  const volumeId = id();
  const want = { volumeId, base: base(), sizeMiB: 8 };
  for (const source of [
    { volumeId: from, snapshot: 'two' },
    { volumeId: id(), snapshot: 'one' },
  ])
    await expect(pool.ensureOverlayDisk({ ...want, source })).rejects.toMatchObject({
      code: 'noSuchSnapshot',
    });
  const other = { path: join(dir, 'other.raw'), format: 'raw' } as const;
  writeFileSync(other.path, Buffer.alloc(2 ** 20));
  const source = { volumeId: from, snapshot: 'one' };
  await expect(pool.ensureOverlayDisk({ ...want, base: other, source })).rejects.toMatchObject({
    code: 'badBase',
  });
  const cut = AbortSignal.abort();
  await expect(pool.ensureOverlayDisk({ ...want, source, signal: cut })).rejects.toMatchObject({
    code: 'hostFault',
  });
  expect([existsSync(join(dir, 'volumes', volumeId)), strays()]).toEqual([false, []]);
  // What was cut short is made by the same call.
  whole((await pool.ensureOverlayDisk({ ...want, source })).path);
});
