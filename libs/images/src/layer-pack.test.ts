import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  lchownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { digestOf, streamOf, tarOf } from './archive-fixture.js';
import { BlobStore } from './blob-store.js';
import { layerChanges, pathText, type UpperLayer } from './layer-changes.js';
import { layerTar, packLimits, type PackLimits } from './layer-pack.js';
import { LayerStore } from './layer-store.js';
import { tarEntries } from './tar-entries.js';
import type { TarType } from './tar-header.js';
import { seen } from './tree-fixture.js';
import { TAR_END, tarHeader, tarPadding } from './tar-write.js';
import { guestAttributes } from './upper-attributes.js';

const base = 100_000;
const ids = { base, size: 65_536 };
const never = new AbortController().signal;
const media = 'application/vnd.oci.image.layer.v1.tar';
let dir: string;
let blobs: BlobStore;
let layers: LayerStore;
let lower: string;
let merged: string;
let upper: UpperLayer;

/** A layer as an image has it, and over it an empty writable layer, mounted. */
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'berth-pack-'));
  blobs = new BlobStore(join(dir, 'blobs'));
  layers = new LayerStore(join(dir, 'layers'), blobs);
  const own = { uid: base, gid: base };
  const tar = await tarOf([
    { name: 'etc/', type: 'directory', mode: 0o755, ...own },
    { name: 'etc/passwd', content: 'root', ...own },
    { name: 'etc/motd', content: 'hello', ...own },
    { name: 'var/', type: 'directory', mode: 0o755, ...own },
    { name: 'var/log/', type: 'directory', mode: 0o755, ...own },
    { name: 'var/log/a', content: 'a', ...own },
    { name: 'var/log/b', content: 'b', ...own },
    { name: 'usr/', type: 'directory', mode: 0o755, ...own },
    { name: 'usr/tool', content: 'tool', mode: 0o755, ...own },
  ]);
  lower = await layers.ensure(await stored(tar));
  for (const name of ['upper', 'work', 'merged']) mkdirSync(join(dir, name));
  merged = join(dir, 'merged');
  const options = `lowerdir=${lower},upperdir=${join(dir, 'upper')},workdir=${join(dir, 'work')}`;
  execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', options, merged]);
  upper = { directory: join(dir, 'upper'), ids, mountPoints: new Set(['/dev', '/dev/pts', '/etc/hosts']) };
});
afterEach(() => {
  execFileSync('umount', [merged]);
  rmSync(dir, { recursive: true, force: true });
});

async function stored(tar: Buffer) {
  const { digest } = await blobs.put(streamOf(tar), { maxBytes: 1 << 28 });
  return { digest, diffId: digestOf(tar), mediaType: media };
}

async function packed(limits: Partial<PackLimits> = {}): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of layerTar(upper, { ...packLimits, ...limits }, never)) parts.push(part);
  return Buffer.concat(parts);
}

/** As the guest would: everything it makes is of its range. */
const owned = (path: string, uid = 0, gid = 0): string => {
  lchownSync(join(merged, path), base + uid, base + gid);
  return path;
};
const write = (path: string, content: string | Buffer): string => {
  writeFileSync(join(merged, path), content);
  return owned(path);
};
const makeDir = (path: string): string => {
  mkdirSync(join(merged, path));
  return owned(path);
};

/** The tree that comes of the image and the packed layer. */
async function remade(tar: Buffer): Promise<Record<string, unknown>> {
  const layer = await layers.ensure(await stored(tar));
  const target = join(dir, 'remade');
  mkdirSync(target);
  // The layer of the fixture belongs to the range, and what was packed to root.
  execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', `ro,lowerdir=${layer}:${lower}`, target]);
  try {
    return seen(target, 0);
  } finally {
    execFileSync('umount', [target]);
  }
}
const changes = async (after: Buffer[] = []): Promise<string[]> => {
  const found: string[] = [];
  for await (const one of layerChanges(upper, lower, after, never))
    found.push(`${one.change[0]} ${one.type} ${pathText(one.path)}`);
  return found;
};

describe('what a container changed', () => {
  it('is packed as the layer that makes the same tree of the image', async () => {
    appendFileSync(join(merged, 'etc/motd'), ', world');
    unlinkSync(join(merged, 'etc/passwd'));
    rmSync(join(merged, 'var/log'), { recursive: true });
    makeDir('var/log');
    write('var/log/c', 'c');
    write('su', Buffer.alloc(700_000, 's'));
    owned('su', 5, 6);
    chmodSync(join(merged, 'su'), 0o6755);
    linkSync(join(merged, 'su'), join(merged, 'usr/su'));
    symlinkSync('/etc/shadow', join(merged, 'way-out'));
    owned('way-out', 7, 8);
    execFileSync('mkfifo', ['-m', '620', join(merged, 'pipe')]);
    owned('pipe');
    write('sparse', '');
    truncateSync(join(merged, 'sparse'), 3_000_000);
    makeDir('dé');
    const long = `${'x'.repeat(200)}é`;
    makeDir(`dé/${long}`);
    write(`dé/${long}/${long}`, 'long');
    symlinkSync(long, join(merged, 'dé/link'));
    owned('dé/link');
    utimesSync(join(merged, 'su'), 1_234_567_890.123, 1_234_567_890.123);
    utimesSync(join(merged, 'pipe'), -5, -5);
    const before = seen(merged, base);
    const tar = await packed();
    const after = await remade(tar);
    const ours = (tree: Record<string, unknown>) =>
      Object.fromEntries(
        Object.entries(tree).filter(([path]) => !/^\/usr\/tool$|^\/(usr|etc|var)$/.test(path)),
      );
    expect(ours(after)).toEqual(ours(before));
    // The same by another reader.
    writeFileSync(join(dir, 'layer.tar'), tar);
    const listed = execFileSync('tar', ['-tvf', join(dir, 'layer.tar'), '--numeric-owner', '--full-time'], {
      encoding: 'utf8',
    });
    expect(listed).toMatch(/-rwsr-sr-x 5\/6 +700000 2009-02-13 \S+ +su\n/);
    expect(listed).toMatch(/hrwsr-sr-x 5\/6 .* usr\/su link to su/);
    expect(listed).toContain('etc/.wh.passwd');
    expect(listed).toContain('var/log/.wh..wh..opq');
    expect(listed).not.toContain('etc/passwd');
  });

  it('is told by path: added, changed, deleted, and from any of them on', async () => {
    expect(await changes()).toEqual([]);
    appendFileSync(join(merged, 'etc/motd'), '!');
    unlinkSync(join(merged, 'etc/passwd'));
    rmSync(join(merged, 'var/log'), { recursive: true });
    makeDir('var/log');
    write('var/log/b', 'again');
    renameSync(join(merged, 'usr/tool'), join(merged, 'usr/other'));
    chmodSync(join(merged, 'usr'), 0o700);
    makeDir('new');
    write('new/file', '');
    rmSync(join(merged, 'usr/other'));
    makeDir('usr/tool');
    const all = [
      'c file /etc/motd',
      'd file /etc/passwd',
      'a directory /new',
      'a file /new/file',
      'c directory /usr',
      'c directory /usr/tool',
      'd file /var/log/a',
      'c file /var/log/b',
    ];
    // The fixture's lower layer has the shifted owners already.
    upper = { ...upper, ids: { base: 0, size: 0x7fff_ffff } };
    expect(await changes()).toEqual(all);
    for (const [i, line] of all.entries()) {
      const parts = (line.split('/').slice(1) as string[]).map((part) => Buffer.from(part));
      expect(await changes(parts)).toEqual(all.slice(i + 1));
    }
  });

  it('is without the places of mounts, unless something is in them, and without sockets', async () => {
    makeDir('dev');
    makeDir('dev/pts');
    write('etc/hosts', '');
    // A socket's file stays where its process was killed.
    const server = createServer().listen(join(merged, 'short'));
    await new Promise((resolve) => server.once('listening', resolve));
    renameSync(join(merged, 'short'), join(merged, 'socket'));
    await new Promise((resolve) => server.close(resolve));
    expect(await changes()).toEqual(['c directory /etc', 'a socket /socket']);
    upper = { ...upper, ids: { base: 0, size: 0x7fff_ffff } };
    const names = async () => {
      const found: string[] = [];
      for await (const { header } of tarEntries(Readable.from([await packed()]), 1e9))
        found.push(header.name);
      return found;
    };
    expect(await names()).toEqual(['etc/']);
    write('dev/null', 'no device');
    expect(await names()).toEqual(['dev/', 'dev/null', 'dev/pts/', 'etc/'].filter((n) => n !== 'dev/pts/'));
  });
});

describe('hostile content', () => {
  const refusal = (words: RegExp, code = 'badLayer') => ({
    code,
    message: expect.stringMatching(words) as string,
    remedy: expect.stringMatching(/./) as string,
  });

  it('that a layer cannot hold is refused by its name, which moves no terminal', async () => {
    write('.wh.etc', 'hides the whole of etc');
    await expect(packed()).rejects.toMatchObject(refusal(/^\/\.wh\.etc has a name that begins with/));
    rmSync(join(merged, '.wh.etc'));
    const broken = Buffer.concat([Buffer.from(`${merged}/`), Buffer.from([0x1b, 0x5b, 0x41, 0xff])]);
    writeFileSync(broken, '');
    await expect(packed()).rejects.toMatchObject(refusal(/^\/\\x1b\[A\\xff has a name that is not UTF-8/));
    expect(await changes()).toEqual(['a file /\\x1b[A\\xff']);
    rmSync(broken);
    write('\u202egpj.exe\\', '');
    expect(await changes()).toEqual(['a file /\\xe2\\x80\\xaegpj.exe\\x5c']);
    expect((await packed()).length).toBeGreaterThan(1024);
    writeFileSync(join(merged, 'foreign'), '');
    chownSync(join(merged, 'foreign'), 0, 0);
    await expect(packed()).rejects.toMatchObject(refusal(/^\/foreign belongs to 0/));
  });

  it('that is too much ends before it is read', async () => {
    write('sparse', '');
    truncateSync(join(merged, 'sparse'), 2 ** 43);
    await expect(packed()).rejects.toMatchObject(refusal(/more than \d+ bytes, counting sparse/, 'tooLarge'));
    rmSync(join(merged, 'sparse'));
    for (let i = 0; i < 20; i += 1) write(`f${i}`, '');
    await expect(packed({ entries: 10 })).rejects.toMatchObject(refusal(/more than 10 entries/, 'tooLarge'));
    makeDir('a');
    makeDir('a/b');
    makeDir('a/b/c');
    await expect(packed({ depth: 2 })).rejects.toMatchObject(refusal(/^\/a\/b\/c is deeper than 2/));
  });

  it('that changes under the reader is an error, and no name of it leads out of the layer', async () => {
    write('swapped', Buffer.alloc(2_000_000, 'x'));
    const secret = join(dir, 'secret');
    writeFileSync(secret, Buffer.alloc(2_000_000, 'secret'));
    const reader = layerTar(upper, packLimits, never);
    const first = await reader.next();
    rmSync(join(dir, 'upper/swapped'));
    symlinkSync(secret, join(dir, 'upper/swapped'));
    expect(String(first.value)).not.toContain('secret');
    await expect(
      (async () => {
        for await (const chunk of reader) expect(chunk.toString('latin1')).not.toContain('secret');
      })(),
    ).rejects.toMatchObject(refusal(/^\/swapped changed while it was read/));
  });
});

it('a guest’s attributes are kept with its own ids, and those of the host are not', () => {
  const v3 = Buffer.alloc(24);
  v3.writeUInt32LE(0x0300_0001, 0);
  v3.writeUInt32LE(0x2000, 4);
  v3.writeUInt32LE(base, 20);
  const nested = Buffer.from(v3);
  nested.writeUInt32LE(base + 1000, 20);
  const acl = Buffer.alloc(4 + 16);
  acl.writeUInt32LE(2, 0);
  acl.writeUInt16LE(0x02, 4);
  acl.writeUInt32LE(base + 5, 8);
  acl.writeUInt16LE(0x04, 12);
  acl.writeUInt32LE(0xffff_ffff, 16);
  const from = (name: string, value: Buffer) =>
    guestAttributes(new Map([[name, value]]), ids, '/x').get(name);
  expect(from('user.note', Buffer.from('n'))).toEqual(Buffer.from('n'));
  for (const name of ['trusted.overlay.opaque', 'security.selinux', 'trusted.x'])
    expect(from(name, Buffer.from('y'))).toBeUndefined();
  const v2 = from('security.capability', v3);
  expect([v2?.length, v2?.readUInt32LE(0), v2?.readUInt32LE(4)]).toEqual([20, 0x0200_0001, 0x2000]);
  expect(from('security.capability', nested)?.readUInt32LE(20)).toBe(1000);
  expect(from('system.posix_acl_access', acl)?.readUInt32LE(8)).toBe(5);
  expect(from('system.posix_acl_access', acl)?.readUInt32LE(16)).toBe(0xffff_ffff);
  expect(() => guestAttributes(new Map([['security.capability', v3]]), { base: 1, size: 2 }, '/x')).toThrow(
    /belongs to/,
  );
});

it('whatever is written into a tar our strict reader and GNU’s find there again', async () => {
  const name = fc
    .string({ unit: fc.constantFrom('a', 'Z', '.', ' ', 'é', '漢', '\n'), minLength: 1, maxLength: 120 })
    .filter((text) => text !== '.' && text !== '..');
  const entry = fc.record({
    name,
    type: fc.constantFrom<TarType>('file', 'directory', 'symlink', 'fifo'),
    linkname: name,
    mode: fc.integer({ min: 0, max: 0o7777 }),
    uid: fc.integer({ min: 0, max: 0x7fff_ffff }),
    gid: fc.integer({ min: 0, max: 0x7fff_ffff }),
    content: fc.uint8Array({ maxLength: 1100 }),
    mtime: fc.bigInt({ min: -(10n ** 18n), max: 4n * 10n ** 18n }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(entry, { maxLength: 5 }), async (wanted) => {
      const parts = wanted.flatMap(({ content, ...head }) => {
        const body = head.type === 'file' ? Buffer.from(content) : Buffer.alloc(0);
        const linkname = head.type === 'symlink' ? head.linkname : '';
        return [tarHeader({ ...head, linkname, size: body.length }), body, tarPadding(body.length)];
      });
      const found: unknown[] = [];
      for await (const { header, content } of tarEntries(
        Readable.from([Buffer.concat([...parts, TAR_END])]),
        1e9,
      )) {
        const bytes: Buffer[] = [];
        for await (const part of content) bytes.push(part);
        found.push([
          header.name,
          header.type,
          header.linkname,
          header.mode,
          header.uid,
          header.gid,
          Buffer.concat(bytes),
        ]);
      }
      expect(found).toEqual(
        wanted.map((w) => [
          w.type === 'directory' ? `${w.name}/` : w.name,
          w.type,
          w.type === 'symlink' ? w.linkname : '',
          ...[w.mode, w.uid, w.gid],
          w.type === 'file' ? Buffer.from(w.content) : Buffer.alloc(0),
        ]),
      );
    }),
    { numRuns: 60 },
  );
});
