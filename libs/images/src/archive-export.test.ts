import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync, chmodSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { archiveParts, partsRead, partsSize, partsTag, type FilePart } from './archive-export.js';
import { digestOf, ociTar, streamOf, tarOf } from './archive-fixture.js';
import { importArchive, type OciContent } from './archive-import.js';
import { BlobStore } from './blob-store.js';
import { manifestType } from './oci-documents.js';

let dir: string;
let blobs: BlobStore;
let content: OciContent;
let parts: readonly FilePart[];
let whole: Buffer;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'berth-export-'));
  blobs = new BlobStore(join(dir, 'blobs'));
  const layer = await tarOf([{ name: 'bin/demo', content: 'x'.repeat(3000), mode: 0o755 }]);
  content = await importArchive(streamOf(await ociTar({ layer, diffId: digestOf(layer) })), blobs);
  parts = await partsOf('demo-1');
  whole = await bytesFrom(0);
  writeFileSync(join(dir, 'it.tar'), whole);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const partsOf = async (name: string): Promise<readonly FilePart[]> =>
  archiveParts(content, manifestType(await blobs.read(content.digest, 1 << 20)), name);
async function bytesFrom(first: number): Promise<Buffer> {
  const read: Uint8Array[] = [];
  for await (const chunk of partsRead(parts, first, blobs)) read.push(chunk);
  return Buffer.concat(read);
}
const said = (program: string, ...args: string[]): string =>
  execFileSync(program, args, { encoding: 'utf8' });

it('is as long as was said, and imports as the same image', async () => {
  expect(whole.length).toBe(partsSize(parts));
  expect(whole.length % 512).toBe(0);
  const other = new BlobStore(join(dir, 'other'));
  expect(await importArchive(streamOf(whole), other)).toEqual(content);
});

it('can be asked for from each byte on', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(whole.length), async (first) => {
      expect((await bytesFrom(first)).equals(whole.subarray(first))).toBe(true);
    }),
  );
  expect((await bytesFrom(whole.length)).length).toBe(0);
});

it('has a tag of its bytes: another name is another file', async () => {
  expect(partsTag(await partsOf('demo-1'))).toBe(partsTag(parts));
  expect(partsTag(await partsOf('demo-2'))).not.toBe(partsTag(parts));
});

it('is what GNU tar, skopeo and umoci read, as an OCI layout and as a docker-archive', () => {
  const file = join(dir, 'it.tar');
  expect(said('tar', '-tf', file).split('\n')).toContain(`blobs/sha256/${content.configDigest.slice(7)}`);
  expect(digestOf(said('skopeo', 'inspect', '--raw', `oci-archive:${file}:demo-1`))).toBe(content.digest);
  for (const at of [`oci-archive:${file}`, `docker-archive:${file}:demo-1:latest`])
    expect(JSON.parse(said('skopeo', 'inspect', '--config', at)), at).toMatchObject({
      config: { Entrypoint: ['/bin/demo'] },
      rootfs: { diff_ids: content.layers.map((l) => l.diffId) },
    });
  // A copy reads every blob, and holds it against its digest.
  said('skopeo', 'copy', '-q', '--insecure-policy', `docker-archive:${file}`, `dir:${join(dir, 'copied')}`);
  const layout = join(dir, 'layout');
  mkdirSync(layout);
  said('tar', '-xf', file, '-C', layout);
  said('umoci', 'unpack', '--rootless', '--image', `${layout}:demo-1`, join(dir, 'bundle'));
  expect(said('cat', join(dir, 'bundle/rootfs/bin/demo'))).toBe('x'.repeat(3000));
});

it('breaks off at a blob that is not as long as it was', async () => {
  const { digest, sizeBytes } = content.layers[0]!;
  chmodSync(blobs.path(digest), 0o600);
  truncateSync(blobs.path(digest), sizeBytes - 7);
  await expect(bytesFrom(0)).rejects.toMatchObject({
    code: 'missingBlob',
    message: expect.stringContaining('7 bytes shorter') as string,
  });
});
