import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
afterEach(() => rmSync(dir, { recursive: true, force: true }));

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
    await pool.ensureLayerDir({ volumeId: id() });
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
    await expect(full.ensureLayerDir({ volumeId: id() })).rejects.toMatchObject({ code: 'noSpace' });
    await expect(full.ensureOverlayDisk({ ...request, volumeId: id() })).rejects.toMatchObject({
      code: 'noSpace',
    });
    await full.ensureOverlayDisk(request);
  });

  it('makes the writable layer of a container, closed to everyone but root, and keeps what it holds', async () => {
    const volumeId = id();
    const layer = await pool.ensureLayerDir({ volumeId });
    writeFileSync(join(layer.upper, 'kept'), 'yes');
    expect(await pool.ensureLayerDir({ volumeId })).toEqual(layer);
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
  });

  it('does not turn a disk into a layer or a layer into a disk', async () => {
    const volumeId = id();
    await pool.ensureLayerDir({ volumeId });
    await expect(pool.ensureOverlayDisk({ volumeId, base, sizeMiB: 32 })).rejects.toMatchObject({
      code: 'kindMismatch',
    });
  });

  it('lists what is there with what it takes, and forgets what was removed, also twice', async () => {
    const disk = id();
    const layer = id();
    await pool.ensureOverlayDisk({ volumeId: disk, base, sizeMiB: 32 });
    const { upper } = await pool.ensureLayerDir({ volumeId: layer });
    writeFileSync(join(upper, 'big'), Buffer.alloc(2 ** 20, 1));
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
    await pool.ensureLayerDir({ volumeId });
    mkdirSync(join(dir, 'volumes', '.work-0123'));
    await pool.clean();
    expect(readdirSync(join(dir, 'volumes'))).toEqual([volumeId]);
    await expect(async () => pool.remove('../../etc' as VolumeId)).rejects.toThrow();
  });
});
