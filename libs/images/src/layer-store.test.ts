import { execFileSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
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
import { gzipSync } from 'node:zlib';
import { attributesAt } from '@berth/linux';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { TarItem } from './archive-fixture.js';
import { digestOf, ociTar, streamOf, tarOf } from './archive-fixture.js';
import { importArchive } from './archive-import.js';
import { BlobStore } from './blob-store.js';
import type { LayerRef } from './layer-store.js';
import { LayerStore } from './layer-store.js';

let dir: string;
let blobs: BlobStore;
let layers: LayerStore;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-layers-'));
  blobs = new BlobStore(join(dir, 'blobs'));
  layers = new LayerStore(join(dir, 'layers'), blobs);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const OCI = 'application/vnd.oci.image.layer.v1.tar';

async function stored(
  items: readonly TarItem[],
  pack = (tar: Buffer) => tar,
  suffix = '',
): Promise<LayerRef> {
  const tar = await tarOf(items);
  const { digest } = await blobs.put(streamOf(pack(tar)), { maxBytes: 1 << 26 });
  return { digest, diffId: digestOf(tar), mediaType: `${OCI}${suffix}` };
}

async function expectRefused(items: readonly TarItem[], words: RegExp, code = 'badLayer'): Promise<void> {
  await expect(layers.ensure(await stored(items))).rejects.toMatchObject({
    code,
    message: expect.stringMatching(words) as string,
  });
  expect(readdirSync(layers.dir)).toEqual([]);
}

describe('LayerStore', () => {
  it('keeps owners, modes, set-uid bits, times, links and fifos as the layer has them', async () => {
    const time = new Date(1_234_567_890_000);
    const tree = await layers.ensure(
      await stored([
        { name: './', type: 'directory', mode: 0o750 },
        { name: 'bin/', type: 'directory', mode: 0o555, uid: 3, gid: 4, mtime: time },
        { name: 'bin/su', content: 'root', mode: 0o4755, uid: 1000, gid: 1001, mtime: time },
        { name: 'bin/sudo', type: 'link', linkname: 'bin/su' },
        { name: 'sh', type: 'symlink', linkname: '/etc/passwd', uid: 7, gid: 8 },
        { name: 'pipe', type: 'fifo', mode: 0o620 },
      ]),
    );
    expect(statSync(tree).mode & 0o7777).toBe(0o750);
    expect(statSync(join(tree, 'bin'))).toMatchObject({ uid: 3, gid: 4, mtimeMs: time.getTime() });
    const su = statSync(join(tree, 'bin/su'));
    expect(su).toMatchObject({ uid: 1000, gid: 1001, nlink: 2, mtimeMs: time.getTime() });
    expect(su.mode & 0o7777).toBe(0o4755);
    expect(statSync(join(tree, 'bin/sudo')).ino).toBe(su.ino);
    expect(lstatSync(join(tree, 'sh'))).toMatchObject({ uid: 7, gid: 8 });
    expect(lstatSync(join(tree, 'pipe')).isFIFO()).toBe(true);
    expect(statSync(layers.dir).mode & 0o077).toBe(0);
  });

  it('keeps attributes that are a guest’s to have, and none that overlayfs or the host would heed', async () => {
    const much = { 'SCHILY.xattr.user.much': 'x'.repeat(70_000) };
    await expectRefused([{ name: 'file', pax: much }], /attributes of "file" are too large/, 'tooLarge');
    const refused = {
      'SCHILY.xattr.trusted.overlay.redirect': '/etc',
      'SCHILY.xattr.trusted.overlay.opaque': 'y',
      'SCHILY.xattr.security.selinux': 'x',
      'SCHILY.xattr.security.capability': '\x01\0\0\x03'.padEnd(24, '\0'), // of a root that the image names
      'SCHILY.xattr.system.posix_acl_access': 'x',
    };
    const pax = { ...refused, 'SCHILY.xattr.user.kept': 'yes' };
    const tree = await layers.ensure(
      await stored([
        { name: 'file', content: 'x', pax },
        { name: 'directory', type: 'directory', pax },
        { name: 'link', type: 'symlink', linkname: 'file', pax },
        { name: 'pipe', type: 'fifo', pax },
      ]),
    );
    const kept = (name: string): string[] => [...attributesAt(join(tree, name)).keys()];
    expect(['file', 'directory', 'link', 'pipe'].map(kept)).toEqual([['user.kept'], ['user.kept'], [], []]);
  });

  it('unpacks gzip and zstd to the same tree', async () => {
    const items = [{ name: 'a', content: Buffer.alloc(300_000, 'x') }];
    const zstd = (tar: Buffer) => execFileSync('zstd', ['-q', '-c'], { input: tar });
    for (const [pack, suffix] of [
      [gzipSync, '+gzip'],
      [zstd, '+zstd'],
    ] as const) {
      const layer = await stored(items, pack, suffix);
      const tree = await layers.ensure(layer);
      expect(readFileSync(join(tree, 'a')).equals(items[0]?.content ?? Buffer.alloc(0))).toBe(true);
      await layers.remove(layer.diffId);
    }
  });

  it('turns whiteouts into what overlayfs understands', async () => {
    const lower = await layers.ensure(
      await stored([
        { name: 'gone', content: 'old' },
        { name: 'kept', content: 'old' },
        { name: 'dir/old', content: 'old' },
        { name: 'again/old', content: 'old' },
      ]),
    );
    const upper = await layers.ensure(
      await stored([
        { name: '.wh.gone' },
        { name: 'dir/.wh..wh..opq' },
        { name: 'dir/new', content: 'new' },
        { name: 'again/new', content: 'new' },
        { name: '.wh.again' },
      ]),
    );
    const merged = join(dir, 'merged');
    mkdirSync(merged);
    execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', `ro,lowerdir=${upper}:${lower}`, merged]);
    try {
      expect(readdirSync(merged).sort()).toEqual(['again', 'dir', 'kept']);
      expect(readdirSync(join(merged, 'dir'))).toEqual(['new']);
      expect(readdirSync(join(merged, 'again'))).toEqual(['new']);
    } finally {
      execFileSync('umount', [merged]);
    }
  });

  it('unpacks a real image to the tree that umoci unpacks', async () => {
    const tar = await tarOf([
      { name: 'etc/', type: 'directory', mode: 0o755 },
      { name: 'etc/motd', content: 'hello', mode: 0o640, uid: 5 },
      { name: 'etc/link', type: 'symlink', linkname: 'motd' },
      { name: 'bin/a', content: 'a', mode: 0o4711 },
      { name: 'bin/b', type: 'link', linkname: 'bin/a' },
    ]);
    const archive = await ociTar({ layer: tar });
    const content = await importArchive(streamOf(archive), blobs);
    const tree = await layers.ensure(content.layers[0] as LayerRef);
    writeFileSync(join(dir, 'in.tar'), archive);
    execFileSync('skopeo', [
      '--insecure-policy',
      'copy',
      '-q',
      `oci-archive:${dir}/in.tar`,
      `oci:${dir}/oci:t`,
    ]);
    execFileSync('umoci', ['unpack', '--image', `${dir}/oci:t`, `${dir}/bundle`], { stdio: 'pipe' });
    const listing = (root: string) =>
      execFileSync(
        'find',
        ['.', '-mindepth', '1', '!', '-name', 'bin', '-printf', '%p %y %m %U %G %s %n %l %Ts\n'],
        {
          cwd: root,
          encoding: 'utf8',
        },
      )
        .split('\n')
        .sort();
    expect(listing(tree)).toEqual(listing(join(dir, 'bundle', 'rootfs')));
  });

  it('leaves device nodes out and takes the rest', async () => {
    const tree = await layers.ensure(
      await stored([
        { name: 'dev/sda', type: 'block-device', devmajor: 8, devminor: 0 },
        { name: 'dev/null', type: 'character-device', devmajor: 1, devminor: 3 },
        { name: 'a', content: 'a' },
      ]),
    );
    expect(readdirSync(tree).sort()).toEqual(['a', 'dev']);
    expect(readdirSync(join(tree, 'dev'))).toEqual([]);
  });

  it('refuses entries that lead out of the layer, and touches nothing there', async () => {
    const target = join(dir, 'victim');
    writeFileSync(target, 'safe');
    await expectRefused([{ name: target, content: 'evil' }], /absolute/);
    await expectRefused([{ name: '../../victim', content: 'evil' }], /"\.\."/);
    const through = [
      { name: 'out', type: 'symlink' as const, linkname: dir },
      { name: 'out/victim', content: 'evil' },
    ];
    await expectRefused(through, /passes through the symbolic link out/);
    await expectRefused([{ name: 'h', type: 'link', linkname: target }], /absolute/);
    await expectRefused([{ name: 'h', type: 'link', linkname: '../../victim' }], /"\.\."/);
    const linked = [through[0] as TarItem, { name: 'h', type: 'link' as const, linkname: 'out/victim' }];
    await expectRefused(linked, /passes through/);
    await expectRefused([{ name: 'h', type: 'link', linkname: 'nothing' }], /not in this layer/);
    await expectRefused([through[0] as TarItem, { name: 'out/.wh.victim' }], /passes through/);
    expect(readFileSync(target, 'utf8')).toBe('safe');
    expect(lstatSync(target).nlink).toBe(1);
  });

  it('replaces a link by a later file of the same name instead of writing through it', async () => {
    const target = join(dir, 'victim');
    writeFileSync(target, 'safe');
    const tree = await layers.ensure(
      await stored([
        { name: 'f', type: 'symlink', linkname: target },
        { name: 'f', content: 'mine' },
      ]),
    );
    expect(readFileSync(join(tree, 'f'), 'utf8')).toBe('mine');
    expect(readFileSync(target, 'utf8')).toBe('safe');
  });

  it('refuses a layer that is not its diffId, and one that is cut off', async () => {
    const good = await stored([{ name: 'a', content: Buffer.alloc(20_000, 'a') }], gzipSync, '+gzip');
    await expect(layers.ensure({ ...good, diffId: digestOf('other') })).rejects.toMatchObject({
      code: 'badDigest',
    });
    const cut = await stored([{ name: 'b', content: Buffer.alloc(20_000, 'b') }], (t) => t.subarray(0, 5000));
    await expect(layers.ensure(cut)).rejects.toMatchObject({ code: 'badArchive' });
    const noise = await stored([{ name: 'c' }], () => Buffer.from('not zstd at all'), '+zstd');
    await expect(layers.ensure(noise)).rejects.toMatchObject({ name: 'ImageError' });
    expect(readdirSync(layers.dir)).toEqual([]);
  });

  it('keeps its limits on bytes, entries, depth and time', async () => {
    const limited = (limits: object) => new LayerStore(layers.dir, blobs, { limits });
    const bomb = await stored([{ name: 'zeros', content: Buffer.alloc(4 << 20) }], gzipSync, '+gzip');
    await expect(limited({ tarBytes: 1 << 20 }).ensure(bomb)).rejects.toMatchObject({ code: 'tooLarge' });
    const many = await stored([{ name: 'a' }, { name: 'b' }, { name: 'c' }]);
    await expect(limited({ entries: 2 }).ensure(many)).rejects.toMatchObject({ code: 'tooLarge' });
    const deep = await stored([{ name: 'a/b/c/d', content: 'x' }]);
    await expect(limited({ depth: 3 }).ensure(deep)).rejects.toMatchObject({ code: 'badLayer' });
    await expect(limited({ timeoutMs: 1 }).ensure(deep)).rejects.toMatchObject({ code: 'deadline' });
    expect(readdirSync(layers.dir)).toEqual([]);
  });

  it('shares the work of calls at the same time, and does it once', async () => {
    const layer = await stored([{ name: 'a', content: 'a' }]);
    const trees = await Promise.all([layers.ensure(layer), layers.ensure(layer), layers.ensure(layer)]);
    expect(new Set(trees).size).toBe(1);
    const before = statSync(join(trees[0] ?? '', 'a')).ino;
    await layers.ensure(layer);
    expect(statSync(join(trees[0] ?? '', 'a')).ino).toBe(before);
    expect(await layers.list()).toEqual([{ diffId: layer.diffId, directory: trees[0], bytes: 1 }]);
  });

  it('ends only the wait of a caller that gives up', async () => {
    const layer = await stored([{ name: 'a', content: 'a' }]);
    const stop = new AbortController();
    const given = layers.ensure(layer, stop.signal);
    const kept = layers.ensure(layer);
    stop.abort(new Error('enough'));
    await expect(given).rejects.toThrow('enough');
    expect(existsSync(join(await kept, 'a'))).toBe(true);
  });

  it('collects layers that nobody uses, but none that is ensured meanwhile or being unpacked', async () => {
    const all = [];
    for (const name of ['used', 'unused', 'ensured']) all.push(await stored([{ name, content: name }]));
    const [used, unused, ensured] = all as [LayerRef, LayerRef, LayerRef];
    const trees = await Promise.all(all.map((layer) => layers.ensure(layer)));
    const fresh = await stored([{ name: 'fresh', content: 'x' }]);
    let unpacking: Promise<string> | null = null;
    const among = [...all, fresh].map((layer) => layer.diffId);
    await layers.collect(among, async () => {
      await layers.ensure(ensured);
      unpacking = layers.ensure(fresh);
      return new Set([used.diffId]);
    });
    expect(trees.map((tree) => existsSync(tree))).toEqual([true, false, true]);
    expect(existsSync(await (unpacking as unknown as Promise<string>))).toBe(true);
    expect(existsSync(await layers.ensure(unused))).toBe(true);
    expect(readdirSync(layers.dir).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('says which blob is missing, removes twice, and sweeps what a crash left', async () => {
    const layer = await stored([{ name: 'a', content: 'a' }]);
    await expect(layers.ensure({ ...layer, digest: digestOf('no') })).rejects.toMatchObject({
      code: 'missingBlob',
    });
    const tree = await layers.ensure(layer);
    mkdirSync(join(layers.dir, '.work-0123'), { recursive: true });
    await layers.clean();
    expect(readdirSync(layers.dir)).toHaveLength(1);
    await layers.remove(layer.diffId);
    await layers.remove(layer.diffId);
    expect(existsSync(tree)).toBe(false);
    expect(readdirSync(layers.dir)).toEqual([]);
  });
});
