import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isCapable } from '@berth/linux';
import { VolumeId } from '@berth/model';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { VolumePool } from './volume-pool.js';

let dir: string;
let pool: VolumePool;
let base: { path: string; format: 'qcow2' };
const id = () => VolumeId.parse(randomUUID());

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-pool-'));
  pool = new VolumePool({ dir: join(dir, 'volumes'), reserveMiB: 1 });
  base = { path: join(dir, 'base.qcow2'), format: 'qcow2' };
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', base.path, '20M']);
});
afterEach(async () => {
  for (const name of existsSync(join(dir, 'volumes')) ? readdirSync(join(dir, 'volumes')) : [])
    if (VolumeId.safeParse(name).success) await pool.closeLayer(name as VolumeId);
  rmSync(dir, { recursive: true, force: true });
});

interface QemuInfo {
  readonly 'virtual-size': number;
  readonly 'backing-filename': string;
  readonly 'backing-filename-format': string;
}
const info = (path: string) =>
  JSON.parse(execFileSync('qemu-img', ['info', '--output=json', path], { encoding: 'utf8' })) as QemuInfo;

describe('VolumePool', () => {
  it('makes an overlay of the wanted size, with both formats pinned', async () => {
    const volumeId = id();
    const disk = await pool.ensureOverlayDisk({ volumeId, base, sizeMiB: 64 });
    expect(disk).toEqual({ path: join(dir, 'volumes', volumeId, 'disk.qcow2'), format: 'qcow2' });
    expect(info(disk.path)).toMatchObject({
      format: 'qcow2',
      'virtual-size': 64 * 2 ** 20,
      'backing-filename': base.path,
      'backing-filename-format': 'qcow2',
    });
    execFileSync('qemu-img', ['check', '-q', disk.path]);
  });

  it('tells what its disks stand on, and refuses to when one of them cannot be read', async () => {
    expect(await pool.bases()).toEqual(new Set());
    const other = join(dir, 'other.raw');
    writeFileSync(other, Buffer.alloc(2 ** 20));
    await pool.ensureOverlayDisk({ volumeId: id(), base, sizeMiB: 64 });
    await pool.ensureOverlayDisk({ volumeId: id(), base, sizeMiB: 64 });
    await pool.ensureLayer({ volumeId: id(), sizeMiB: 16 });
    const last = id();
    await pool.ensureOverlayDisk({ volumeId: last, base: { path: other, format: 'raw' }, sizeMiB: 64 });
    expect(await pool.bases()).toEqual(new Set([base.path, other]));
    await pool.remove(last);
    expect(await pool.bases()).toEqual(new Set([base.path]));
    mkdirSync(join(dir, 'volumes', last));
    writeFileSync(join(dir, 'volumes', last, 'volume.json'), '{');
    await expect(pool.bases()).rejects.toMatchObject({ code: 'hostFault' });
  });

  it('keeps a raw disk raw when its guest, or its base, comes to look like a qcow2 image with a backing file', async () => {
    const secret = join(dir, 'secret');
    writeFileSync(secret, Buffer.alloc(2 ** 20, 'S'));
    const trap = join(dir, 'trap');
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', secret, '-F', 'raw', trap]);
    const raw = join(dir, 'base.raw');
    writeFileSync(raw, Buffer.alloc(2 ** 20));
    const request = { volumeId: id(), base: { path: raw, format: 'raw' as const }, sizeMiB: 1 };
    const { path } = await pool.ensureOverlayDisk(request);
    const seen = () => {
      execFileSync('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', path, join(dir, 'seen')]);
      return readFileSync(join(dir, 'seen'));
    };
    const pinned = { format: 'qcow2', 'backing-filename': raw, 'backing-filename-format': 'raw' };
    // The base as it could never be imported: its bytes are what the guest sees, no way to the secret.
    const header = Buffer.concat([readFileSync(trap), Buffer.alloc(2 ** 20)]).subarray(0, 2 ** 20);
    writeFileSync(raw, header);
    expect(seen().equals(header)).toBe(true);
    writeFileSync(raw, Buffer.alloc(2 ** 20));
    // The guest writes the header through its disk, as it may write anything.
    writeFileSync(join(dir, 'written'), header);
    execFileSync('qemu-io', ['-f', 'qcow2', '-c', `write -q -s ${join(dir, 'written')} 0 1M`, path]);
    expect(await pool.ensureOverlayDisk(request)).toEqual({ path, format: 'qcow2' });
    expect(info(path)).toMatchObject(pinned);
    expect(seen().equals(header)).toBe(true);
    expect(readFileSync(raw).equals(Buffer.alloc(2 ** 20))).toBe(true);
    // As the base of another volume it is refused where it is called raw.
    const asRaw = {
      volumeId: id(),
      base: { path: join(dir, 'written'), format: 'raw' as const },
      sizeMiB: 1,
    };
    await expect(pool.ensureOverlayDisk(asRaw)).rejects.toMatchObject({ code: 'badBase' });
  });

  it('stands on a raw base as raw, whatever its content says', async () => {
    const raw = join(dir, 'base.raw');
    writeFileSync(raw, Buffer.alloc(2 ** 20));
    const { path } = await pool.ensureOverlayDisk({
      volumeId: id(),
      base: { path: raw, format: 'raw' },
      sizeMiB: 1,
    });
    expect(info(path)['backing-filename-format']).toBe('raw');
  });

  it('keeps an existing disk and what was written to it', async () => {
    const request = { volumeId: id(), base, sizeMiB: 32 };
    const { path } = await pool.ensureOverlayDisk(request);
    execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 0x5a 0 4096', path], { stdio: 'pipe' });
    const before = readFileSync(path);
    await pool.ensureOverlayDisk({ ...request, sizeMiB: 64 });
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  it('makes one disk when asked for it several times at once', async () => {
    const request = { volumeId: id(), base, sizeMiB: 32 };
    const disks = await Promise.all([1, 2, 3].map(() => pool.ensureOverlayDisk(request)));
    expect(new Set(disks.map((disk) => disk.path)).size).toBe(1);
    expect(readdirSync(join(dir, 'volumes'))).toEqual([request.volumeId]);
  });

  it('refuses a size below the image, a base that is missing or of another format, and leaves nothing', async () => {
    const refused = (change: object, code: string, words: RegExp) =>
      expect(pool.ensureOverlayDisk({ volumeId: id(), base, sizeMiB: 64, ...change })).rejects.toMatchObject({
        name: 'StorageError',
        code,
        message: expect.stringMatching(words) as string,
      });
    await refused({ sizeMiB: 19 }, 'tooSmall', /19 MiB is smaller than its image, which has 20 MiB/);
    await refused({ base: { path: join(dir, 'no'), format: 'qcow2' } }, 'badBase', /not here/);
    await refused({ base: { path: base.path, format: 'raw' } }, 'badBase', /is qcow2, not raw/);
    const chain = join(dir, 'chain.qcow2');
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', base.path, chain]);
    await refused({ base: { path: chain, format: 'qcow2' } }, 'badBase', /backing file/);
    expect(readdirSync(join(dir, 'volumes'))).toEqual([]);
  });

  it('refuses new volumes when only the reserve is left, and keeps the old ones usable', async () => {
    const request = { volumeId: id(), base, sizeMiB: 32 };
    await pool.ensureOverlayDisk(request);
    const full = new VolumePool({ dir: join(dir, 'volumes'), reserveMiB: 2 ** 40 });
    expect(await full.freeMiB()).toBe(0);
    await expect(full.ensureLayer({ volumeId: id(), sizeMiB: 16 })).rejects.toMatchObject({
      code: 'noSpace',
    });
    await expect(full.ensureOverlayDisk({ ...request, volumeId: id() })).rejects.toMatchObject({
      code: 'noSpace',
    });
    await full.ensureOverlayDisk(request);
  });

  it('makes the writable layer of a container, closed to everyone but root, and keeps what it holds', async () => {
    const volumeId = id();
    const layer = await pool.ensureLayer({ volumeId, sizeMiB: 16 });
    writeFileSync(join(layer.upper, 'kept'), 'yes');
    expect(await pool.ensureLayer({ volumeId, sizeMiB: 16 })).toEqual(layer);
    expect(readFileSync(join(layer.upper, 'kept'), 'utf8')).toBe('yes');
    expect(statSync(layer.upper).mode & 0o777).toBe(0o755);
    expect(statSync(join(dir, 'volumes', volumeId)).mode & 0o077).toBe(0);
    const merged = join(dir, 'merged');
    const lower = join(dir, 'lower');
    mkdirSync(merged);
    mkdirSync(lower);
    const options = `lowerdir=${lower},upperdir=${layer.upper},workdir=${layer.work}`;
    execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', options, merged]);
    execFileSync('umount', [merged]);
    await pool.closeLayer(volumeId);
    expect(existsSync(layer.upper)).toBe(false);
    expect((await pool.ensureLayer({ volumeId, sizeMiB: 16 })).upper).toBe(layer.upper);
    expect(readFileSync(join(layer.upper, 'kept'), 'utf8')).toBe('yes');
  });

  it('lets a layer hold so much and no more, takes nothing for what is not written, and gives back what is deleted', async () => {
    const volumeId = id();
    const { upper } = await pool.ensureLayer({ volumeId, sizeMiB: 1024 });
    const bytes = async (): Promise<number> => (await pool.stat(volumeId))?.bytes ?? 0;
    expect(await bytes()).toBeLessThan(2 ** 20);
    expect(statfsSync(upper).blocks * 4096).toBeGreaterThan(0.95 * 2 ** 30);
    writeFileSync(join(upper, 'big'), Buffer.alloc(16 * 2 ** 20, 1), { flush: true });
    expect(await bytes()).toBeGreaterThan(16 * 2 ** 20);
    rmSync(join(upper, 'big'));
    execFileSync('sync', ['-f', upper]);
    await expect.poll(bytes, { timeout: 10_000 }).toBeLessThan(4 * 2 ** 20);

    const small = (await pool.ensureLayer({ volumeId: id(), sizeMiB: 16 })).upper;
    const fill = (): void => writeFileSync(join(small, 'fill'), Buffer.alloc(16 * 2 ** 20, 1));
    expect(fill).toThrow(/ENOSPC/);
    writeFileSync(join(upper, 'elsewhere'), Buffer.alloc(2 ** 20));
  });

  const sizeOf = (path: string): number => Math.round((statfsSync(path).blocks * 4096) / 2 ** 20);

  it('makes a layer larger when it is opened, never smaller, and finishes what was cut short', async () => {
    const volumeId = id();
    const opened = async (sizeMiB: number): Promise<number> => {
      await pool.closeLayer(volumeId);
      const layer = await pool.ensureLayer({ volumeId, sizeMiB });
      expect(sizeOf(layer.upper)).toBeGreaterThan(layer.sizeMiB * 0.9);
      return layer.sizeMiB;
    };
    expect(await opened(64)).toBe(64);
    const { upper } = await pool.ensureLayer({ volumeId, sizeMiB: 64 });
    writeFileSync(join(upper, 'kept'), 'yes');
    expect(await opened(1024)).toBe(1024);
    writeFileSync(join(upper, 'big'), Buffer.alloc(70 * 2 ** 20));
    expect(await opened(64)).toBe(1024);
    await pool.closeLayer(volumeId);
    // Ended between the file and the file system.
    execFileSync('truncate', ['-s', '3G', join(dir, 'volumes', volumeId, 'layer.ext4')]);
    expect(await opened(3072)).toBe(3072);
    expect(readFileSync(join(upper, 'kept'), 'utf8')).toBe('yes');
    await pool.closeLayer(volumeId);
    execFileSync('e2fsck', ['-fn', join(dir, 'volumes', volumeId, 'layer.ext4')], { stdio: 'ignore' });
  });

  it('makes a layer larger while it is in use, where the kernel lets this process, and says so where not', async () => {
    const volumeId = id();
    const { upper } = await pool.ensureLayer({ volumeId, sizeMiB: 32 });
    const file = openSync(join(upper, 'open'), 'w');
    const mayGrow = isCapable('sys_resource');
    const grown = await pool.ensureLayer({ volumeId, sizeMiB: 256 });
    expect(grown.sizeMiB).toBe(mayGrow ? 256 : 32);
    const write = (): number => writeSync(file, Buffer.alloc(64 * 2 ** 20));
    expect(write()).toEqual(mayGrow ? 64 * 2 ** 20 : expect.any(Number));
    expect(sizeOf(upper) > 200).toBe(mayGrow);
    // A mount that goes on unseen is in use too: the file below it stays as it is.
    await pool.closeLayer(volumeId);
    expect((await pool.ensureLayer({ volumeId, sizeMiB: 256 })).sizeMiB).toBe(mayGrow ? 256 : 32);
    closeSync(file);
    await pool.closeLayer(volumeId);
    await expect
      .poll(async () => {
        await pool.closeLayer(volumeId);
        return (await pool.ensureLayer({ volumeId, sizeMiB: 256 })).sizeMiB;
      })
      .toBe(256);
  });

  it('never puts a layer behind two devices, also where a mount of it goes on unseen', async () => {
    const volumeId = id();
    const { upper } = await pool.ensureLayer({ volumeId, sizeMiB: 16 });
    const inUse = openSync(join(upper, 'open'), 'w');
    await pool.closeLayer(volumeId); // as with a container that is still on its way out
    const again = (await pool.ensureLayer({ volumeId, sizeMiB: 16 })).upper;
    writeFileSync(inUse, 'seen by both');
    expect(readFileSync(join(again, 'open'), 'utf8')).toBe('seen by both');
    const behind = readdirSync('/sys/block')
      .map((name) => join('/sys/block', name, 'loop/backing_file'))
      .filter((path) => existsSync(path) && readFileSync(path, 'utf8').includes(volumeId));
    expect(behind).toHaveLength(1);
    closeSync(inUse);
  });

  it('unmounts a layer before it removes it', async () => {
    const volumeId = id();
    const { upper } = await pool.ensureLayer({ volumeId, sizeMiB: 16 });
    await pool.remove(volumeId);
    expect(existsSync(upper)).toBe(false);
    expect(readdirSync(join(dir, 'volumes'))).toEqual([]);
    await pool.closeLayer(volumeId);
  });

  it('keeps the directories of a layer that an earlier version made without a limit', async () => {
    const volumeId = id();
    const directory = join(dir, 'volumes', volumeId);
    for (const name of ['upper', 'work']) mkdirSync(join(directory, name), { recursive: true });
    writeFileSync(join(directory, 'volume.json'), JSON.stringify({ kind: 'layer', volumeId }));
    const layer = await pool.ensureLayer({ volumeId, sizeMiB: 16 });
    expect(layer).toEqual({ upper: join(directory, 'upper'), work: join(directory, 'work'), sizeMiB: 16 });
    await pool.closeLayer(volumeId);
    expect(existsSync(layer.upper)).toBe(true);
  });

  it('does not turn a disk into a layer or a layer into a disk', async () => {
    const volumeId = id();
    await pool.ensureLayer({ volumeId, sizeMiB: 16 });
    await expect(pool.ensureOverlayDisk({ volumeId, base, sizeMiB: 32 })).rejects.toMatchObject({
      code: 'kindMismatch',
    });
  });

  it('lists what is there with what it takes, and forgets what was removed, also twice', async () => {
    const disk = id();
    const layer = id();
    await pool.ensureOverlayDisk({ volumeId: disk, base, sizeMiB: 32 });
    const { upper } = await pool.ensureLayer({ volumeId: layer, sizeMiB: 16 });
    writeFileSync(join(upper, 'big'), Buffer.alloc(2 ** 20, 1), { flush: true });
    const found = new Map((await pool.list()).map((usage) => [usage.volumeId, usage]));
    expect([...found.keys()].sort()).toEqual([disk, layer].sort());
    expect(found.get(layer)?.bytes).toBeGreaterThanOrEqual(2 ** 20);
    expect(found.get(disk)?.kind).toBe('disk');
    for (const volumeId of [disk, layer, layer]) await pool.remove(volumeId);
    expect(await pool.list()).toEqual([]);
    expect(readdirSync(join(dir, 'volumes'))).toEqual([]);
    expect(existsSync(base.path)).toBe(true);
  });

  it('sweeps what a crash left, and takes no id that could be a path', async () => {
    const volumeId = id();
    await pool.ensureLayer({ volumeId, sizeMiB: 16 });
    mkdirSync(join(dir, 'volumes', '.work-0123'));
    await pool.clean();
    expect(readdirSync(join(dir, 'volumes'))).toEqual([volumeId]);
    await expect(async () => pool.remove('../../etc' as VolumeId)).rejects.toThrow();
  });
});
