import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type TarItem, tarOf } from './archive-fixture.js';
import { imageChanges, mergedFiles } from './image-changes.js';
import { layerFiles, type LayerNode, type ListLimits } from './layer-files.js';

let dir: string;
let fresh = 0;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'berth-changes-'))));
afterEach(() => rmSync(dir, { recursive: true }));

const type = 'application/vnd.oci.image.layer.v1.tar';
const limits: ListLimits = { tarBytes: 2 ** 24, entries: 50, depth: 8 };
function written(bytes: Buffer): string {
  const at = join(dir, String(++fresh));
  writeFileSync(at, bytes);
  return at;
}
const layer = async (...items: TarItem[]): Promise<LayerNode> =>
  layerFiles(written(gzipSync(await tarOf(items))), `${type}+gzip`, limits);
const directory = (name: string, more: Partial<TarItem> = {}): TarItem => ({
  name,
  type: 'directory',
  ...more,
});
const changes = (before: LayerNode[], after: LayerNode[]): string[] =>
  [...imageChanges(mergedFiles(before), mergedFiles(after))].map(
    (c) => `${c.change} ${c.type} ${c.path}${c.sizeBytes === null ? '' : ` ${c.sizeBytes}`}`,
  );

it('tells what is added, changed and gone, parents first, whichever layer did it', async () => {
  const base = await layer(
    ...['a', 'a/deep', 'b', 'c', 'd'].map((name) => directory(name, { mode: 0o755 })),
    ...['a/1', 'a/deep/2', 'b/1', 'c/1', 'd/1', 'f', 'g'].map((name) => ({ name, content: name })),
    { name: 'link', type: 'symlink', linkname: 'f' },
  );
  const upper = await layer(
    { name: 'a/.wh..wh..opq' },
    { name: 'a/new', content: 'x' },
    { name: 'b', content: 'a file now' },
    directory('c', { mode: 0o700 }),
    { name: '.wh.d' },
    { name: 'f', content: 'f', mtime: new Date(0) },
    { name: 'g', content: 'G' },
    { name: 'hard', type: 'link', linkname: 'g' },
    { name: 'link', type: 'symlink', linkname: 'g' },
    { name: 'pipe', type: 'fifo' },
    { name: 'null', type: 'character-device', devmajor: 1, devminor: 3 },
    { name: 'im/plied/\u001b', content: '' },
  );
  const told = [
    'deleted file /a/1',
    'deleted directory /a/deep',
    'added file /a/new 1',
    'changed file /b 10',
    'changed directory /c',
    'deleted directory /d',
    'changed file /g 1',
    'added file /hard 1',
    'added directory /im',
    'added directory /im/plied',
    'added file /im/plied/\\x1b 0',
    'changed symlink /link',
    'added device /null',
    'added fifo /pipe',
  ];
  expect(changes([base], [base, upper])).toEqual(told);
  // Twice upon each other is once, and what was read is as it was.
  expect(changes([base], [base, upper, upper])).toEqual(told);
  expect(changes([base, upper], [base, upper])).toEqual([]);
  const back = changes([base, upper], [base]);
  expect(back.filter((line) => line.startsWith('deleted '))).toHaveLength(5);
  expect(back).toContain('changed directory /b');
  expect(back).toContain('added file /b/1 3');
});

it('reads layers as tar, gzip and zstd, and refuses what does harm', async () => {
  const tar = await tarOf([{ name: 'x', content: Buffer.alloc(100_000, 'x') }]);
  const plain = await layerFiles(written(tar), type, limits);
  const zstd = execFileSync('zstd', ['-q', '-c'], { input: tar });
  expect(await layerFiles(written(zstd), `${type}+zstd`, limits)).toEqual(plain);
  await expect(layerFiles(written(zstd.subarray(0, 50)), `${type}+zstd`, limits)).rejects.toMatchObject({
    code: 'badArchive',
  });
  const refused = (...items: TarItem[]) => expect(layer(...items)).rejects;
  await refused({ name: '../x' }).toMatchObject({ code: 'badLayer' });
  await refused({ name: 'x' }, { name: 'x/y' }).toMatchObject({ code: 'badLayer' });
  await refused({ name: 'x', type: 'link', linkname: 'none' }).toMatchObject({ code: 'badLayer' });
  await refused({ name: '.wh.d/x' }).toMatchObject({ code: 'badLayer' });
  await refused({ name: '1/2/3/4/5/6/7/8/9' }).toMatchObject({ code: 'badLayer' });
  await refused(...Array.from({ length: 51 }, (_, i) => ({ name: `f${i}` }))).toMatchObject({
    code: 'tooLarge',
  });
  const bomb = gzipSync(await tarOf([{ name: 'zeros', content: Buffer.alloc(2 ** 25) }]));
  await expect(layerFiles(written(bomb), `${type}+gzip`, limits)).rejects.toMatchObject({ code: 'tooLarge' });
});
