import { execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VolumeId, type DiskFormat } from '@berth/model';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { VolumePool } from './volume-pool.js';

let dir: string;
let pool: VolumePool;
const id = (): VolumeId => VolumeId.parse(randomUUID());

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-clone-'));
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
const strays = (): string[] =>
  readdirSync(join(dir, 'volumes'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    /work|source/.test(name),
  );
async function made(format: DiskFormat, sizeMiB = 8): Promise<{ volumeId: VolumeId; path: string }> {
  const volumeId = id();
  return { volumeId, ...(await pool.ensureDataDisk({ volumeId, format, sizeMiB })) };
}
const refused = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'no refusal',
    (e: unknown) => (e as { code?: unknown }).code ?? e,
  );

it.each([
  ['qcow2', 'qcow2'],
  ['qcow2', 'raw'],
  ['raw', 'qcow2'],
  ['raw', 'raw'],
] as const)('a %s is cloned as %s: the same bytes, sparse, sound, and its own', async (from, format) => {
  const source = await made(from, 32);
  io(source.path, from, 'write -q -P 0x11 1M 64k', 'write -q -P 0x12 20M 128k', 'write -q -z 4M 1M');
  if (from === 'qcow2') await pool.snapshot(source.volumeId, 'take', 'one');
  io(source.path, from, 'write -q -P 0x21 1M 64k');
  const then = content(source.path, from);
  const modes = statSync(source.path);
  const volumeId = id();
  const clone = { volumeId, sourceId: source.volumeId, format, sizeMiB: 32 };
  await pool.cloneDataDisk(clone);
  const path = pool.dataPath(volumeId, format);
  expect(content(path, format).equals(then)).toBe(true);
  expect(statSync(path).blocks * 512).toBeLessThan(2 * 2 ** 20);
  if (format === 'qcow2') {
    execFileSync('qemu-img', ['check', '-q', path]);
    expect(execFileSync('qemu-img', ['snapshot', '-l', path], { encoding: 'utf8' })).toBe('');
  }
  for (const file of [path, source.path]) {
    const { uid, gid, mode } = statSync(file);
    expect([uid, gid, mode & 0o777]).toEqual([0, 0, 0o600]);
  }
  expect(statSync(source.path).nlink).toBe(modes.nlink);
  expect(strays()).toEqual([]);
  // A repeat of the order finds it whole; what is written to one is not in the other, and one may go.
  io(path, format, 'write -q -P 0x31 2M 64k');
  await pool.cloneDataDisk(clone);
  expect(content(path, format)[2 * 2 ** 20]).toBe(0x31);
  expect(content(source.path, from).equals(then)).toBe(true);
  await pool.remove(source.volumeId);
  expect(content(path, format)[2 ** 20]).toBe(0x21);
});

it('is as large as asked for where the other one has not grown yet, and never smaller than that', async () => {
  const source = await made('qcow2', 8);
  for (const [sizeMiB, has] of [
    [16, 16],
    [4, 8],
  ] as const) {
    const volumeId = id();
    await pool.cloneDataDisk({ volumeId, sourceId: source.volumeId, format: 'raw', sizeMiB });
    expect(statSync(pool.dataPath(volumeId, 'raw')).size).toBe(has * 2 ** 20);
  }
});

it('takes a raw disk for raw, whatever its guest wrote over its first bytes', async () => {
  const secret = join(dir, 'secret');
  execFileSync('qemu-img', ['create', '-q', '-f', 'raw', secret, '1M']);
  io(secret, 'raw', 'write -q -P 0x5a 0 64k');
  const trap = join(dir, 'trap');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', secret, '-F', 'raw', trap, '1M']);
  const source = await made('raw', 1);
  execFileSync('dd', [`if=${trap}`, `of=${source.path}`, 'conv=notrunc'], { stdio: 'pipe' });
  const volumeId = id();
  await pool.cloneDataDisk({ volumeId, sourceId: source.volumeId, format: 'qcow2', sizeMiB: 1 });
  const copy = content(pool.dataPath(volumeId, 'qcow2'), 'qcow2');
  expect(copy.equals(readFileSync(source.path))).toBe(true);
  expect(copy.toString('latin1', 0, 4)).toBe('QFI\xfb');
});

it('follows neither a base nor a file of data that a taken-over QEMU wrote into the header', async () => {
  const secret = join(dir, 'secret');
  execFileSync('qemu-img', ['create', '-q', '-f', 'raw', secret, '8M']);
  io(secret, 'raw', 'write -q -P 0x5a 0 1M');
  const based = await made('qcow2');
  execFileSync('qemu-img', ['rebase', '-q', '-u', '-f', 'qcow2', '-b', secret, '-F', 'raw', based.path]);
  const volumeId = id();
  await pool.cloneDataDisk({ volumeId, sourceId: based.volumeId, format: 'raw', sizeMiB: 8 });
  expect(readFileSync(pool.dataPath(volumeId, 'raw')).every((byte) => byte === 0)).toBe(true);
  const elsewhere = await made('qcow2');
  const options = ['-o', `data_file=${secret},data_file_raw=on`];
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...options, elsewhere.path, '8M']);
  const other = id();
  const work = pool.cloneDataDisk({
    volumeId: other,
    sourceId: elsewhere.volumeId,
    format: 'raw',
    sizeMiB: 8,
  });
  expect(await refused(work)).toBe('hostFault');
  expect(await pool.stat(other)).toBeNull();
  expect(strays()).toEqual([]);
});

it.each(['qcow2', 'raw'] as const)(
  'copies no %s that a QEMU has open, and leaves nothing',
  async (format) => {
    const source = await made(format);
    const qemu = spawn('qemu-io', ['-f', format, source.path], { stdio: ['pipe', 'pipe', 'ignore'] });
    qemu.stdin.write('write -P 1 0 64k\n');
    await once(qemu.stdout, 'data');
    const volumeId = id();
    expect(
      await refused(pool.cloneDataDisk({ volumeId, sourceId: source.volumeId, format, sizeMiB: 8 })),
    ).toBe('hostFault');
    qemu.stdin.end('quit\n');
    await once(qemu, 'exit');
    expect(await pool.stat(volumeId)).toBeNull();
    expect(strays()).toEqual([]);
    await pool.cloneDataDisk({ volumeId, sourceId: source.volumeId, format, sizeMiB: 8 });
  },
);

it('counts for nothing when the other one was written meanwhile', async () => {
  const source = await made('raw', 64);
  io(source.path, 'raw', 'write -q -P 0x11 0 64M');
  const volumeId = id();
  const work = pool.cloneDataDisk({ volumeId, sourceId: source.volumeId, format: 'raw', sizeMiB: 64 });
  // It is lent to whoever reads it.
  while (statSync(source.path).gid === 0) await new Promise((resolve) => setImmediate(resolve));
  utimesSync(source.path, 1, 1);
  expect(await refused(work)).toBe('hostFault');
  expect(await pool.stat(volumeId)).toBeNull();
});

it('is given up by its signal, in the middle and before its turn, and leaves nothing', async () => {
  const source = await made('raw', 64);
  io(source.path, 'raw', 'write -q -P 0x11 0 64M');
  const given = new AbortController();
  const [first, second] = [id(), id()];
  const clone = (volumeId: VolumeId) =>
    refused(
      pool.cloneDataDisk({
        volumeId,
        sourceId: source.volumeId,
        format: 'qcow2',
        sizeMiB: 64,
        signal: given.signal,
      }),
    );
  const works = [clone(first), clone(second)];
  while (!strays().some((name) => name.endsWith('/source')))
    await new Promise((resolve) => setImmediate(resolve));
  given.abort(new Error('not wanted'));
  for (const work of works) expect(await work).not.toBe('no refusal');
  // As the order to remove it does, which comes right behind.
  for (const volumeId of [first, second]) {
    await pool.remove(volumeId);
    expect(await pool.stat(volumeId)).toBeNull();
  }
  expect(strays()).toEqual([]);
  expect(statSync(source.path).mode & 0o777).toBe(0o600);
});

it('what a killed agent had begun is swept, and begun anew', async () => {
  const source = await made('raw', 64);
  io(source.path, 'raw', 'write -q -P 0x11 0 64M');
  const volumeId = id();
  // What an agent leaves that is killed in the middle: its directory, with the second name of the source in it.
  const work = join(dir, 'volumes', '.work-0123456789abcdef');
  execFileSync('mkdir', [work]);
  execFileSync('ln', [source.path, join(work, 'source')]);
  execFileSync('truncate', ['-s', '1M', join(work, 'data.qcow2')]);
  const next = new VolumePool({ dir: join(dir, 'volumes'), reserveMiB: 1 });
  await next.clean();
  expect(strays()).toEqual([]);
  expect(statSync(source.path).nlink).toBe(1);
  await next.cloneDataDisk({ volumeId, sourceId: source.volumeId, format: 'qcow2', sizeMiB: 64 });
  expect(content(next.dataPath(volumeId, 'qcow2'), 'qcow2').equals(readFileSync(source.path))).toBe(true);
});

it('refuses what would not fit into the pool', async () => {
  const source = await made('raw', 8);
  io(source.path, 'raw', 'write -q -P 0x11 0 8M');
  const free = (await pool.freeMiB()) + 1;
  const full = new VolumePool({ dir: join(dir, 'volumes'), reserveMiB: free - 4 });
  const volumeId = id();
  expect(
    await refused(full.cloneDataDisk({ volumeId, sourceId: source.volumeId, format: 'raw', sizeMiB: 8 })),
  ).toBe('noSpace');
  expect(await full.stat(volumeId)).toBeNull();
});
