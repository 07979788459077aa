import { createHash } from 'node:crypto';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digestOf, streamOf } from './archive-fixture.js';
import { BlobStore } from './blob-store.js';
import { LayerStore } from './layer-store.js';
import type { RawEntry } from './raw-tar-fixture.js';
import { base256, pax, rawEntry, rawTar } from './raw-tar-fixture.js';

/**
 * Layers that mean harm, each with what becomes of it: the code of its refusal, or the whole tree that is unpacked
 * (path → type and link target). After each the tree beside the store, files of the host and the store's own folder
 * are compared as a whole.
 */
const SECRET = 'the host has one secret';
let dir: string;
let blobs: BlobStore;
let layers: LayerStore;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'berth-hostile-'));
  blobs = new BlobStore(join(dir, 'blobs'));
  const limits = { tarBytes: 64 << 20, entries: 2000, depth: 32, timeoutMs: 30_000 };
  layers = new LayerStore(join(dir, 'layers'), blobs, { limits });
  const beside = join(dir, 'beside');
  mkdirSync(join(beside, 'etc'), { recursive: true });
  mkdirSync(join(dir, 'layers'), { mode: 0o700 });
  writeFileSync(join(beside, 'etc', 'shadow'), SECRET, { mode: 0o600 });
  writeFileSync(join(beside, 'tool'), SECRET);
  chmodSync(join(beside, 'tool'), 0o4755);
  symlinkSync('etc/shadow', join(beside, 'link'));
  await (await blobs.stage()).discard();
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const target = (name: string) => join(dir, 'beside', name);
const file = (name: string, body = 'evil'): RawEntry => ({ name, body });
const folder = (name: string): RawEntry => ({ name, flag: '5', mode: '0000755\0' });
const symlink = (name: string, link: string): RawEntry => ({ name, link, flag: '2' });
const hard = (name: string, link: string): RawEntry => ({ name, link, flag: '1' });
const device = (name: string, flag: '3' | '4' | '6'): RawEntry => ({ name, flag });
const gnu = (flag: 'L' | 'K', body: string | Buffer): RawEntry => ({ name: '././@LongLink', flag, body });
const whole = rawTar(folder('d'), file('d/a', 'x'.repeat(3000)), symlink('l', 'd/a'), file('z'));
const numbered = (count: number, make: (i: number) => RawEntry) =>
  Array.from({ length: count }, (_, i) => make(i));

type Tree = Readonly<Record<string, string>>;
type Hostile = readonly [
  name: string,
  tar: () => Buffer,
  outcome: 'badLayer' | 'badArchive' | 'tooLarge' | Tree,
  gzip?: 'gzip',
];

const paths: readonly Hostile[] = [
  ['an absolute path', () => rawTar(file(target('tool'))), 'badLayer'],
  ['a path that starts with ..', () => rawTar(file('../../beside/tool')), 'badLayer'],
  ['a path with .. in its middle', () => rawTar(file('a/b/../../../../x')), 'badLayer'],
  ['a path that ends with ..', () => rawTar(folder('a/..')), 'badLayer'],
  ['.. by the ustar prefix', () => rawTar({ ...file('x'), prefix: '../..' }), 'badLayer'],
  ['.. as a directory', () => rawTar(folder('..')), 'badLayer'],
  ['the root as a file', () => rawTar(file('.')), 'badLayer'],
  ['the root as a directory with content', () => rawTar(file('./')), 'badArchive'],
  ['the root as a link', () => rawTar(symlink('.', target(''))), 'badLayer'],
  ['an empty name', () => rawTar(file('')), 'badLayer'],
  ['a file through a link', () => rawTar(symlink('out', target('')), file('out/tool')), 'badLayer'],
  ['a file through a link to ..', () => rawTar(symlink('out', '../..'), file('out/tool')), 'badLayer'],
  [
    'a file through a link to a link',
    () => rawTar(symlink('a', '/'), symlink('b', 'a'), file('b/x')),
    'badLayer',
  ],
  ['a directory through a link', () => rawTar(symlink('out', '/'), folder('out/d')), 'badLayer'],
  [
    'a file through a link into the layer',
    () => rawTar(folder('d'), symlink('l', 'd'), file('l/x')),
    'badLayer',
  ],
  ['a file below a file', () => rawTar(file('f'), file('f/x')), 'badLayer'],
  ['links in a ring', () => rawTar(symlink('a', 'b'), symlink('b', 'a')), { a: 'l b', b: 'l a' }],
  ['a ring as a parent', () => rawTar(symlink('a', 'b'), symlink('b', 'a'), file('a/x')), 'badLayer'],
  ['a link to the host', () => rawTar(symlink('l', '/etc/shadow')), { l: 'l /etc/shadow' }],
  ['a file in place of a link', () => rawTar(symlink('l', target('tool')), file('l')), { l: 'f' }],
  [
    'a directory in place of a link',
    () => rawTar(symlink('l', target('')), folder('l'), file('l/x')),
    { l: 'd', 'l/x': 'f' },
  ],
  ['a link in place of a directory', () => rawTar(folder('d'), symlink('d', '/'), file('d/x')), 'badLayer'],
  ['a file in place of a directory', () => rawTar(folder('d'), file('d')), 'badLayer'],
  ['a hard link out', () => rawTar(hard('h', target('etc/shadow'))), 'badLayer'],
  ['a hard link out by ..', () => rawTar(hard('h', '../../beside/tool')), 'badLayer'],
  ['a hard link through a link', () => rawTar(symlink('o', target('')), hard('h', 'o/tool')), 'badLayer'],
  [
    'a hard link to a link',
    () => rawTar(symlink('o', target('tool')), hard('h', 'o'), file('h')),
    { o: `l ${'*'}`, h: 'f' },
  ],
  ['a hard link to a directory', () => rawTar(folder('d'), hard('h', 'd')), 'badLayer'],
  ['a hard link to the root', () => rawTar(hard('h', '.')), 'badLayer'],
  ['a hard link to itself', () => rawTar(file('f'), hard('f', 'f')), { f: 'f' }],
  ['a hard link to nothing', () => rawTar(hard('h', 'later'), file('later')), 'badLayer'],
];

const nodes: readonly Hostile[] = [
  ['a disk device', () => rawTar(device('sda', '4'), file('a')), { a: 'f' }],
  ['a memory device', () => rawTar(device('mem', '3'), file('a')), { a: 'f' }],
  ['a device in place of a file', () => rawTar(file('a'), device('a', '4')), { a: 'f' }],
  ['a fifo', () => rawTar(device('p', '6')), { p: 'p' }],
  ['a file in place of a fifo', () => rawTar(device('p', '6'), file('p')), { p: 'f' }],
  ['a file below a fifo', () => rawTar(device('p', '6'), file('p/x')), 'badLayer'],
  [
    'a set-uid directory and link',
    () => rawTar({ ...folder('d'), mode: '0007777\0' }, { ...symlink('l', 'd'), mode: '0004777\0' }),
    { d: 'd', l: 'l d' },
  ],
  ['a set-uid fifo', () => rawTar({ ...device('p', '6'), mode: '0006777\0' }), { p: 'p' }],
  ['a whiteout through a link', () => rawTar(symlink('o', target('')), file('o/.wh.tool')), 'badLayer'],
  [
    'an opaque mark through a link',
    () => rawTar(symlink('o', target('')), file('o/.wh..wh..opq')),
    'badLayer',
  ],
  ['a whiteout of ..', () => rawTar(file('.wh...')), 'badLayer'],
  ['a whiteout of .', () => rawTar(file('.wh..')), 'badLayer'],
  ['a whiteout of nothing', () => rawTar(file('.wh.')), 'badLayer'],
  ['a whiteout with content', () => rawTar(file('.wh.x', 'y'.repeat(700)), file('a')), { a: 'f', x: 'c' }],
  ['a file below a whiteout', () => rawTar(file('.wh.d/x')), 'badLayer'],
  ['what aufs keeps for itself', () => rawTar(file('.wh..wh.plnk/12.34'), file('a')), { a: 'f' }],
  ['a whiteout, then a link of that name', () => rawTar(file('.wh.l'), symlink('l', '/')), { l: 'l /' }],
  [
    'an opaque mark, then a link around it',
    () => rawTar(file('d/.wh..wh..opq'), symlink('d', '/')),
    'badLayer',
  ],
  [
    'attributes of overlayfs and capabilities',
    () =>
      rawTar(
        pax({ 'SCHILY.xattr.trusted.overlay.redirect': '/etc', 'SCHILY.xattr.security.capability': 'x' }),
        file('a'),
      ),
    { a: 'f' },
  ],
  ['case games', () => rawTar(file('A'), file('a'), symlink('ETC', '/')), { A: 'f', a: 'f', ETC: 'l /' }],
  [
    'one name in two normal forms',
    () => rawTar(file('\u00e9'), file('e\u0301')),
    { 'e\u0301': 'f', '\u00e9': 'f' },
  ],
  [
    'names that turn text around, and shell words',
    () => rawTar(file('\u202egpj.sh'), file('$(id);\n`x`')),
    { '$(id);\n`x`': 'f', '\u202egpj.sh': 'f' },
  ],
  [
    'dots of other alphabets',
    () => rawTar(file('\uff0e\uff0e/x')),
    { '\uff0e\uff0e': 'd', '\uff0e\uff0e/x': 'f' },
  ],
  ['a name that is not UTF-8', () => rawTar({ name: Buffer.from([0x61, 0xff, 0xfe]) }), 'badArchive'],
];

const formats: readonly Hostile[] = [
  ['pax: path out', () => rawTar(pax({ path: '../../x' }), file('ok')), 'badLayer'],
  ['pax: absolute path', () => rawTar(pax({ path: target('tool') }), file('ok')), 'badLayer'],
  [
    'pax: linkpath out of a hard link',
    () => rawTar(pax({ linkpath: target('tool') }), hard('h', 'ok')),
    'badLayer',
  ],
  ['pax: NUL in a path', () => rawTar(pax({ path: 'a\0/../../x' }), file('ok')), 'badArchive'],
  ['pax: NUL in a linkpath', () => rawTar(pax({ linkpath: '/\0x' }), symlink('l', 'x')), 'badArchive'],
  ['pax: an empty path', () => rawTar(pax({ path: '' }), file('ok')), 'badArchive'],
  [
    'pax: size hides the next header',
    () => rawTar(pax({ size: '1536' }), file('a', ''), file('../../x'), Buffer.alloc(512)),
    { a: 'f' },
  ],
  ['pax: a negative size', () => rawTar(pax({ size: '-512' }), file('a')), 'badArchive'],
  ['pax: a size that is no number', () => rawTar(pax({ size: '0x10' }), file('a')), 'badArchive'],
  ['pax: a size beyond all', () => rawTar(pax({ size: '9'.repeat(30) }), file('a')), 'badArchive'],
  ['pax: an owner beyond 31 bits', () => rawTar(pax({ uid: '4294967295' }), file('a')), 'badLayer'],
  ['pax: a time beyond all', () => rawTar(pax({ mtime: '999999999999999' }), file('a')), { a: 'f' }],
  ['pax: a record of 2 MiB', () => rawTar(pax({ comment: 'x'.repeat(2 << 20) }), file('a')), 'tooLarge'],
  [
    'pax: a record longer than its header',
    () => rawTar({ flag: 'x', body: '999 path=x\n' }, file('a')),
    'badArchive',
  ],
  ['pax: a record of length 0', () => rawTar({ flag: 'x', body: '0 path=x\n' }, file('a')), 'badArchive'],
  ['pax: a global path', () => rawTar(pax({ path: '../x' }, 'g'), file('a')), 'badArchive'],
  [
    'pax: headers without end',
    () => rawTar(...numbered(20, () => pax({ path: 'a' })), file('a')),
    'badArchive',
  ],
  ['pax: a header for nothing', () => rawTar(file('a'), pax({ path: 'b' })), 'badArchive'],
  [
    'pax: a sparse map',
    () => rawTar(pax({ 'GNU.sparse.major': '1', 'GNU.sparse.realsize': String(2 ** 50) }), file('a')),
    'badArchive',
  ],
  ['GNU: a sparse file', () => rawTar({ ...file('a'), flag: 'S', magic: 'ustar  \0' }), 'badArchive'],
  ['GNU: a long name out', () => rawTar(gnu('L', `${'../'.repeat(90)}x\0`), file('a')), 'badLayer'],
  ['GNU: a long link out', () => rawTar(gnu('K', `${target('tool')}\0`), hard('h', 'a')), 'badLayer'],
  ['GNU: a long name with a NUL in it', () => rawTar(gnu('L', 'good\0/../../x'), file('a')), 'badArchive'],
  [
    'GNU: a long name of 1 GiB',
    () => rawTar({ ...gnu('L', 'x'), size: '10000000000\0' }, file('a')),
    'tooLarge',
  ],
  ['a negative size', () => rawTar({ ...file('a'), size: base256(-1n) }), 'badArchive'],
  ['a size of 2^60', () => rawTar({ ...file('a'), size: base256(1n << 60n) }), 'badArchive'],
  ['a size of 8 GiB without content', () => rawTar({ ...file('a'), size: '77777777777\0' }), 'badArchive'],
  ['a size that is no number', () => rawTar({ ...file('a'), size: '0000000009z\0' }), 'badArchive'],
  [
    'a link that states content',
    () => rawTar({ ...symlink('l', '/'), size: '00000001000\0' }, file('../x')),
    'badArchive',
  ],
  [
    'a directory that states content',
    () => rawTar({ ...folder('d'), size: '00000001000\0' }, file('../x')),
    'badArchive',
  ],
  ['a negative owner', () => rawTar({ ...file('a'), uid: base256(-2n, 8) }), 'badArchive'],
  ['a wrong checksum', () => rawTar({ ...file('a'), badChecksum: true }), 'badArchive'],
  ['a header of no known format', () => rawTar({ ...file('a'), magic: 'someone\0' }), 'badArchive'],
  ['an unknown type', () => rawTar({ ...file('a'), flag: 'V' }), 'badArchive'],
  [
    'an archive behind the end of the archive',
    () => Buffer.concat([rawTar(file('a')), rawTar(file('../x'))]),
    { a: 'f' },
  ],
  [
    'one block of zeros between entries',
    () => Buffer.concat([rawEntry(file('a')), Buffer.alloc(512), rawTar(file('b'))]),
    'badArchive',
  ],
  ['garbage behind the end', () => Buffer.concat([rawTar(file('a')), Buffer.alloc(777, 'g')]), { a: 'f' }],
  ['nothing at all', () => Buffer.alloc(0), {}],
];

const bombs: readonly Hostile[] = [
  ['a bomb by ratio', () => rawTar(file('zeros', '\0'.repeat(66 << 20))), 'tooLarge', 'gzip'],
  ['a bomb by count', () => rawTar(...numbered(2001, (i) => file(`f${i}`, ''))), 'tooLarge'],
  [
    'a bomb by implied directories',
    () => rawTar(...numbered(90, (i) => file(`${i}/${'a/'.repeat(30)}f`, ''))),
    'tooLarge',
  ],
  ['a bomb by depth', () => rawTar(file(`${'a/'.repeat(33)}f`)), 'badLayer'],
  ['a name of 256 bytes', () => rawTar(gnu('L', `${'n'.repeat(256)}\0`), file('a')), 'badLayer'],
  [
    'a path of 4000 bytes',
    () => rawTar(gnu('L', `${`${'n'.repeat(200)}/`.repeat(20)}f\0`), file('a')),
    'badLayer',
  ],
  [
    'a link target of 5000 bytes',
    () => rawTar(gnu('K', `${'n'.repeat(5000)}\0`), symlink('l', 'x')),
    'badLayer',
  ],
  ...[1, 511, 512, 513, 1024, 1100, 3000, 4700].map((at): Hostile => [
    `cut off at byte ${at}`,
    () => whole.subarray(0, at),
    at === 512 ? { d: 'd' } : 'badArchive',
  ]),
];

describe.each([
  ['paths', paths],
  ['nodes and names', nodes],
  ['formats', formats],
  ['bombs and cuts', bombs],
] as [string, readonly Hostile[]][])('hostile layers: %s', (_group, table) => {
  it.each(table.map((row) => [row[0], row] as const))('%s', async (_name, [, tar, outcome, gzip]) => {
    const before = world();
    const bytes = tar();
    const diffId = digestOf(bytes);
    const { digest } = await blobs.put(streamOf(gzip === undefined ? bytes : gzipSync(bytes)), {
      maxBytes: 1 << 30,
    });
    const suffix = gzip === undefined ? '' : '+gzip';
    const layer = { digest, diffId, mediaType: `application/vnd.oci.image.layer.v1.tar${suffix}` };
    const result = await layers.ensure(layer).catch((e: unknown) => e);
    try {
      if (typeof outcome === 'string') expect(result).toMatchObject({ name: 'ImageError', code: outcome });
      else expect(treeOf(String(result))).toEqual(wanted(outcome));
    } finally {
      await layers.remove(diffId);
      await blobs.remove(digest);
    }
    expect(world()).toEqual(before);
  });
});

it('there are no fewer than 40 of them, each with a name of its own', () => {
  const names = [...paths, ...nodes, ...formats, ...bombs].map(([name]) => name);
  expect(new Set(names).size).toBe(names.length);
  expect(names.length).toBeGreaterThanOrEqual(100);
});

const KINDS = {
  0o100000: 'f',
  0o040000: 'd',
  0o120000: 'l',
  0o010000: 'p',
  0o020000: 'c',
  0o060000: 'b',
} as const;
const kindOf = (mode: number) => KINDS[(mode & 0o170000) as keyof typeof KINDS];

/** Paths below a directory. Node's own recursive listing follows links. */
function namesBelow(root: string, at = ''): string[] {
  return readdirSync(join(root, at), { withFileTypes: true }).flatMap((found) => {
    const name = join(at, found.name);
    return found.isDirectory() ? [name, ...namesBelow(root, name)] : [name];
  });
}

/** What was unpacked; no file of it may hold what lies on the host, and no device may be more than a whiteout. */
function treeOf(root: string): Tree {
  const found: Record<string, string> = {};
  const names = namesBelow(root);
  for (const name of names) {
    const path = join(root, name);
    const { mode, rdev } = lstatSync(path);
    const kind = kindOf(mode);
    if (kind === 'c') expect(rdev).toBe(0);
    if (kind === 'f') expect(readFileSync(path, 'latin1')).not.toContain(SECRET);
    found[name] = kind === 'l' ? `l ${readlinkSync(path)}` : kind;
  }
  return found;
}

/** `*` stands for a path beside the store, which has another name in each run. */
function wanted(tree: Tree): Tree {
  return Object.fromEntries(Object.entries(tree).map(([k, v]) => [k, v.replace('*', target('tool'))]));
}

/** All that must stay as it is: the whole test folder with the stores, files of the host, and names in its folders. */
function world(): Record<string, unknown> {
  const own = ['.', ...namesBelow(dir)].map((name) => join(dir, name));
  const host = ['/etc/passwd', '/etc/shadow', '/etc/hosts', '/'];
  return Object.fromEntries([...own, ...host].map((path) => [path, stateOf(path)]));
}

function stateOf(path: string): unknown {
  const s = lstatSync(path, { bigint: true });
  const kind = kindOf(Number(s.mode));
  // Making and removing a layer or a blob touches the time of the store's own folders, and of nothing else.
  const inStore = path.startsWith(join(dir, 'layers')) || path.startsWith(join(dir, 'blobs')) || path === dir;
  const changed = inStore && kind === 'd' ? 0n : s.ctimeNs;
  if (!path.startsWith(dir) && kind === 'd') return readdirSync(path).sort();
  const content = kind === 'f' ? createHash('sha256').update(readFileSync(path)).digest('hex') : '';
  return [s.mode, s.uid, s.gid, s.nlink, s.ino, s.size, changed, content].map(String);
}
