import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Digest } from '@berth/model';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { blobPath, digestOf, ociTar, streamOf, tarOf } from './archive-fixture.js';
import { importArchive } from './archive-import.js';
import { BlobStore } from './blob-store.js';
import { pax, rawTar } from './raw-tar-fixture.js';

/** Archives that mean harm, each with the code of its refusal. Nothing of them may be stored, staged or left open. */
let dir: string;
let blobs: BlobStore;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-hostile-oci-'));
  blobs = new BlobStore(join(dir, 'blobs'));
  writeFileSync(join(dir, 'canary'), '{"schemaVersion":2}');
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const indexType = 'application/vnd.oci.image.index.v1+json';
const layerType = 'application/vnd.oci.image.layer.v1.tar+gzip';
const layer = () => tarOf([{ name: 'etc/motd', content: 'hello' }]);

interface Parts {
  architecture: unknown;
  os: unknown;
  config: Record<string, unknown>;
  rootfs: { type: string; diff_ids: unknown[] };
}
type Target = { mediaType: string; digest: Digest; size: number; [more: string]: unknown };
interface Change {
  config?: (config: Parts) => unknown;
  manifest?: (manifest: { layers: Target[]; config: Target }) => unknown;
  index?: (target: Target) => unknown;
  files?: (files: Map<string, Buffer>) => void;
}

/** A good layout with one thing changed; digests and sizes are those of the changed documents. */
async function layout(change: Change): Promise<Buffer> {
  const files = new Map<string, Buffer>();
  const put = (mediaType: string, value: unknown): Target => {
    const bytes = Buffer.isBuffer(value)
      ? value
      : Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
    files.set(blobPath(digestOf(bytes)), bytes);
    return { mediaType, digest: digestOf(bytes), size: bytes.length };
  };
  const tar = await layer();
  const packed = put(layerType, gzipSync(tar));
  const rootfs = { type: 'layers', diff_ids: [digestOf(tar)] };
  const config: Parts = { architecture: 'amd64', os: 'linux', config: { Cmd: ['/x'] }, rootfs };
  const described = put('application/vnd.oci.image.config.v1+json', change.config?.(config) ?? config);
  const manifest = { schemaVersion: 2, config: described, layers: [packed] };
  const target = put(manifestType, change.manifest?.(manifest) ?? manifest);
  const index = change.index?.(target) ?? { schemaVersion: 2, manifests: [target] };
  files.set('index.json', Buffer.from(typeof index === 'string' ? index : JSON.stringify(index)));
  change.files?.(files);
  return tarOf([...files].map(([name, content]) => ({ name, content })));
}

/** The layout with blobs changed where they lie, under their old names. */
const blobWith = (files: Map<string, Buffer>, at: number, bytes: Buffer) =>
  void files.set([...files.keys()][at] ?? '', bytes);
const layers = (change: (layer: Target) => object): Change => ({
  manifest: (m) => ({ ...m, layers: m.layers.map((l) => ({ ...l, ...change(l) })) }),
});
const config = (change: (c: Parts) => object): Change => ({ config: (c) => ({ ...c, ...change(c) }) });

/** Indexes that point to each other cannot be made without a collision, but one may point to what is not there. */
const pointing = (mediaType: string): Change => ({
  index: (t) => ({ schemaVersion: 2, manifests: [{ ...t, mediaType }] }),
});

type Code = 'badArchive' | 'badDigest' | 'unsupported' | 'tooLarge';
const table: readonly (readonly [string, Code, () => Buffer | Promise<Buffer>])[] = [
  ['a layer that was changed', 'badDigest', () => layout({ files: (f) => blobWith(f, 0, Buffer.from('x')) })],
  [
    'a configuration that was changed',
    'badDigest',
    () => layout({ files: (f) => blobWith(f, 1, Buffer.from('{}')) }),
  ],
  [
    'a manifest that was changed',
    'badDigest',
    () => layout({ files: (f) => blobWith(f, 2, Buffer.from('{}')) }),
  ],
  ['a layer of another size', 'badDigest', () => layout(layers((l) => ({ size: l.size - 1 })))],
  ['a size that is negative', 'badArchive', () => layout(layers(() => ({ size: -1 })))],
  ['a size that is no integer', 'badArchive', () => layout(layers(() => ({ size: 1e300 })))],
  ['a layer that is missing', 'badArchive', () => layout(layers(() => ({ digest: digestOf('nowhere') })))],
  [
    'a digest that is a path',
    'badArchive',
    () => layout(layers(() => ({ digest: 'sha256:../../../etc/passwd' }))),
  ],
  ['a digest in capitals', 'badArchive', () => layout(layers((l) => ({ digest: l.digest.toUpperCase() })))],
  [
    'a digest of another kind',
    'badArchive',
    () => layout(layers((l) => ({ digest: l.digest.replace('sha256', 'md5') }))),
  ],
  [
    'a blob of another kind',
    'unsupported',
    () => layout({ files: (f) => void f.set('blobs/md5/0123', Buffer.from('x')) }),
  ],
  ['a foreign layer', 'unsupported', () => layout(layers(() => ({ urls: ['http://192.0.2.1/layer'] })))],
  [
    'a foreign layer by its type',
    'unsupported',
    () => layout(layers(() => ({ mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip' }))),
  ],
  [
    'an encrypted layer',
    'unsupported',
    () => layout(layers(() => ({ mediaType: `${layerType}+encrypted` }))),
  ],
  ['a manifest read as an index', 'badArchive', () => layout(pointing(indexType))],
  [
    'a configuration in place of the image',
    'unsupported',
    () => layout(pointing('application/vnd.oci.image.config.v1+json')),
  ],
  ['an index of nothing', 'badArchive', () => layout({ index: () => ({ schemaVersion: 2, manifests: [] }) })],
  [
    'an index of two images',
    'unsupported',
    () => layout({ index: (t) => ({ schemaVersion: 2, manifests: [t, { ...t, digest: digestOf('b') }] }) }),
  ],
  [
    'an index of 5000 images',
    'badArchive',
    () => layout({ index: (t) => ({ schemaVersion: 2, manifests: Array.from({ length: 5000 }, () => t) }) }),
  ],
  [
    'an index of schema 1',
    'badArchive',
    () => layout({ index: (t) => ({ schemaVersion: 1, manifests: [t] }) }),
  ],
  ['JSON that is cut off', 'badArchive', () => layout({ index: () => '{"schemaVersion":2,"manifests":[' })],
  [
    'JSON that is a million brackets deep',
    'badArchive',
    () => layout({ index: () => '['.repeat(1_000_000) }),
  ],
  ['JSON of 5 MiB', 'tooLarge', () => layout({ index: () => `{"x":"${'y'.repeat(5 << 20)}"}` })],
  [
    'JSON that reaches for prototypes',
    'badArchive',
    () => layout({ index: () => '{"__proto__":{"schemaVersion":2,"manifests":[]}}' }),
  ],
  [
    'two keys, the last of them wrong',
    'badArchive',
    () =>
      layout({
        index: (t) => JSON.stringify({ schemaVersion: 2, manifests: [t] }).replace(/}$/, ',"manifests":[]}'),
      }),
  ],
  ['an image for another machine', 'unsupported', () => layout(config(() => ({ architecture: 'arm64' })))],
  [
    'an architecture that is no text',
    'badArchive',
    () => layout(config(() => ({ architecture: ['amd64'] }))),
  ],
  [
    'an architecture of the prototype',
    'unsupported',
    () => layout(config(() => ({ architecture: 'constructor' }))),
  ],
  ['an image for another system', 'unsupported', () => layout(config(() => ({ os: 'windows' })))],
  [
    'a layer without a diffId',
    'badArchive',
    () => layout(config(() => ({ rootfs: { type: 'layers', diff_ids: [] } }))),
  ],
  [
    'diffIds without layers',
    'badArchive',
    () =>
      layout(config((c) => ({ rootfs: { ...c.rootfs, diff_ids: [c.rootfs.diff_ids[0], digestOf('b')] } }))),
  ],
  ['a NUL in the environment', 'badArchive', () => layout(config(() => ({ config: { Env: ['A=b\0C=d'] } })))],
  [
    'a stop signal with words',
    'badArchive',
    () => layout(config(() => ({ config: { StopSignal: 'KILL; id' } }))),
  ],
  [
    '129 layers',
    'tooLarge',
    () => layout({ manifest: (m) => ({ ...m, layers: Array.from({ length: 129 }, () => m.layers[0]) }) }),
  ],
  ['no layers', 'badArchive', () => layout({ manifest: (m) => ({ ...m, layers: [] }) })],
  ['a bomb by ratio', 'tooLarge', () => gzipSync(rawTar({ name: 'zeros', body: Buffer.alloc(80 << 20) }))],
  [
    'a bomb by count',
    'tooLarge',
    () => rawTar(...Array.from({ length: 10_001 }, (_, i) => ({ name: `d${i}`, flag: '5' }))),
  ],
  ['a long header of 1 GiB', 'tooLarge', () => rawTar({ flag: 'x', size: '10000000000\0' })],
  [
    'a negative size in the tar',
    'badArchive',
    () => rawTar(pax({ size: '-1' }), { name: 'index.json', body: '{}' }),
  ],
  [
    'an index that is a link to the host',
    'badArchive',
    () => rawTar({ name: 'index.json', flag: '2', link: join(dir, 'canary') }),
  ],
  [
    'an index that is a link by ..',
    'badArchive',
    () => rawTar({ name: 'index.json', flag: '2', link: '../canary' }),
  ],
  [
    'an index that is a hard link',
    'badArchive',
    () => rawTar({ name: 'index.json', flag: '1', link: join(dir, 'canary') }),
  ],
  [
    'a docker archive that names a file of the host',
    'badArchive',
    () => rawTar({ name: 'manifest.json', body: `[{"Config":"${join(dir, 'canary')}","Layers":["x"]}]` }),
  ],
  [
    'a docker archive that names a file by ..',
    'badArchive',
    () => rawTar({ name: 'manifest.json', body: '[{"Config":"../canary","Layers":["../canary"]}]' }),
  ],
  [
    'a docker archive with links in a ring',
    'badArchive',
    () =>
      rawTar(
        { name: 'a', flag: '2', link: 'b' },
        { name: 'b', flag: '2', link: 'a' },
        { name: 'manifest.json', body: '[{"Config":"a","Layers":["b"]}]' },
      ),
  ],
  [
    'gzip that is cut off',
    'badArchive',
    async () => gzipSync(await ociTar({ layer: await layer() })).subarray(0, -9),
  ],
];

it.each(table)('refuses %s as %s', async (_name, code, archive) => {
  const failure: unknown = await importArchive(streamOf(await archive()), blobs).catch((e: unknown) => e);
  expect(failure).toMatchObject({ name: 'ImageError', code });
  expect(await blobs.list()).toEqual([]);
  expect(readdirSync(join(blobs.dir, 'staging'))).toEqual([]);
  expect(readdirSync(dir).sort()).toEqual(['blobs', 'canary']);
  expect(readFileSync(join(dir, 'canary'), 'utf8')).toBe('{"schemaVersion":2}');
});

it('takes the last of two equal keys in everything that it reads, and stores what it read', async () => {
  const archive = await layout({
    config: (c) => JSON.stringify(c).replace('{', '{"architecture":"arm64","config":{"Cmd":["/other"]},'),
  });
  const content = await importArchive(streamOf(archive), blobs);
  expect(content).toMatchObject({ arch: 'x86_64', process: { cmd: ['/x'] } });
  for (const blob of content.blobs) await blobs.remove(blob.digest);
  expect(await blobs.list()).toEqual([]);
});
