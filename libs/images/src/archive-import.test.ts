import { execFileSync } from 'node:child_process';
import { createReadStream, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Digest } from '@berth/model';
import { ImageContent } from '@berth/model';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blobPath, digestOf, ociTar, streamOf, tarOf } from './archive-fixture.js';
import { importArchive } from './archive-import.js';
import { BlobStore } from './blob-store.js';

let dir: string;
let blobs: BlobStore;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-import-'));
  blobs = new BlobStore(join(dir, 'blobs'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const layer = () => tarOf([{ name: 'etc/motd', content: 'hello' }]);
const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const indexType = 'application/vnd.oci.image.index.v1+json';

/** Nothing may be visible, and nothing half-written may stay, after a refusal. */
async function expectRefused(archive: Buffer, code: string, words: RegExp, limits = {}): Promise<void> {
  await expect(importArchive(streamOf(archive), blobs, limits)).rejects.toMatchObject({
    name: 'ImageError',
    code,
    message: expect.stringMatching(words) as string,
    remedy: expect.stringMatching(/./) as string,
  });
  expect(await blobs.list()).toEqual([]);
  expect(readdirSync(join(blobs.dir, 'staging'))).toEqual([]);
}

describe('importArchive', () => {
  it('stores an OCI layout and describes it in the words of the model', async () => {
    const tar = await layer();
    const content = await importArchive(streamOf(gzipSync(await ociTar({ layer: tar }))), blobs);
    expect(ImageContent.parse(content)).toEqual(content);
    expect(content).toMatchObject({ arch: 'x86_64', layers: [{ diffId: digestOf(tar) }] });
    expect(content.process).toEqual({
      entrypoint: ['/bin/demo'],
      cmd: [],
      env: ['A=b'],
      user: '',
      workdir: '/',
      stopSignal: 'SIGTERM',
    });
    const stored = (await blobs.list()).map((blob) => blob.digest);
    expect(stored.sort()).toEqual(content.blobs.map((blob) => blob.digest).sort());
  });

  it('finds the same image again, and leaves one copy', async () => {
    const archive = await ociTar({ layer: await layer() });
    const first = await importArchive(streamOf(archive), blobs);
    expect(await importArchive(streamOf(archive), blobs)).toEqual(first);
    expect(await blobs.list()).toHaveLength(3);
  });

  it('picks the manifest of its own platform out of an index, past attestations', async () => {
    const other = { digest: digestOf('other'), size: 5, mediaType: manifestType };
    const content = await importArchive(
      streamOf(
        await ociTar({
          layer: await layer(),
          index: (target) => ({
            schemaVersion: 2,
            manifests: [
              { ...other, platform: { os: 'linux', architecture: 'arm64' } },
              { ...other, platform: { os: 'unknown', architecture: 'unknown' } },
              { ...target, mediaType: manifestType, platform: { os: 'linux', architecture: 'amd64' } },
            ],
          }),
        }),
      ),
      blobs,
    );
    expect(content.digest).not.toBe(other.digest);
  });

  it('agrees with skopeo on digests, in the OCI layout and in the docker archive', async () => {
    writeFileSync(join(dir, 'in.tar'), await ociTar({ layer: await layer() }));
    const skopeo = (to: string) =>
      execFileSync('skopeo', ['--insecure-policy', 'copy', '-q', `oci-archive:${dir}/in.tar`, to]);
    skopeo(`oci-archive:${dir}/oci.tar`);
    skopeo(`docker-archive:${dir}/docker.tar:demo:latest`);
    const inspect = (what: string) =>
      JSON.parse(execFileSync('skopeo', ['inspect', '--raw', what], { encoding: 'utf8' })) as {
        config: { digest: string };
        layers: { digest: string }[];
      };
    const oci = await importArchive(createReadStream(join(dir, 'oci.tar')), blobs);
    const seen = inspect(`oci-archive:${dir}/oci.tar`);
    expect(oci.configDigest).toBe(seen.config.digest);
    expect(oci.layers.map((l) => l.digest)).toEqual(seen.layers.map((l) => l.digest));
    const docker = await importArchive(createReadStream(join(dir, 'docker.tar')), blobs);
    expect(docker.configDigest).toBe(inspect(`docker-archive:${dir}/docker.tar`).config.digest);
    expect(docker.layers.map((l) => l.diffId)).toEqual(oci.layers.map((l) => l.diffId));
    const manifest = JSON.parse((await blobs.read(docker.digest, 10_000)).toString()) as object;
    expect(manifest).toMatchObject({
      mediaType: manifestType,
      layers: [{ digest: docker.layers[0]?.digest }],
    });
  });

  it('takes a docker archive with gzip layers and links between layers', async () => {
    const tar = await layer();
    const content = await importArchive(streamOf(await dockerTar([tar], gzipSync(tar))), blobs);
    expect(content.layers[0]).toMatchObject({ diffId: digestOf(tar), digest: digestOf(gzipSync(tar)) });
  });

  it('refuses a docker archive whose layer is not the one of its configuration', async () => {
    await expectRefused(await dockerTar([await layer()], Buffer.alloc(1024)), 'badDigest', /hashes to/);
  });

  it('refuses a blob that does not hash to its name', async () => {
    const archive = await ociTar({
      layer: await layer(),
      files: (files) => {
        const [name, bytes] = [...files][0] as [string, Buffer];
        files.set(name, Buffer.concat([bytes.subarray(0, -1), Buffer.from([(bytes.at(-1) ?? 0) ^ 1])]));
      },
    });
    await expectRefused(archive, 'badDigest', /hashes to/);
  });

  it('refuses a size that is not the blob’s', async () => {
    const archive = await ociTar({
      layer: await layer(),
      index: (t) => ({
        schemaVersion: 2,
        manifests: [{ mediaType: manifestType, digest: t.digest, size: t.size + 1 }],
      }),
    });
    await expectRefused(archive, 'badDigest', /where \d+ are stated/);
  });

  it('refuses a missing blob, a truncated archive, and one that is no archive', async () => {
    const missing = await ociTar({
      layer: await layer(),
      files: (f) => void f.delete([...f.keys()][0] ?? ''),
    });
    await expectRefused(missing, 'badArchive', /is missing/);
    const whole = await ociTar({ layer: await layer() });
    await expectRefused(whole.subarray(0, 700), 'badArchive', /cannot be read/);
    await expectRefused(gzipSync(whole).subarray(0, 300), 'badArchive', /cannot be read/);
    await expectRefused(Buffer.from('<html>not found</html>'), 'badArchive', /./);
    await expectRefused(Buffer.alloc(0), 'badArchive', /neither index.json/);
  });

  it('refuses names that are absolute or lead out, devices, and names given twice', async () => {
    await expectRefused(await tarOf([{ name: '/etc/x', content: 'x' }]), 'badArchive', /absolute/);
    await expectRefused(await tarOf([{ name: 'a/../../x', content: 'x' }]), 'badArchive', /"\.\."/);
    await expectRefused(await tarOf([{ name: 'sda', type: 'block-device' }]), 'badArchive', /block-device/);
    const twice = [
      { name: 'index.json', content: '{}' },
      { name: './index.json', content: '{}' },
    ];
    await expectRefused(await tarOf(twice), 'badArchive', /twice/);
  });

  it('follows no link of a docker archive to the host', async () => {
    const archive = await tarOf([
      { name: 'manifest.json', type: 'symlink', linkname: '/etc/passwd' },
      { name: 'x', content: 'x' },
    ]);
    await expectRefused(archive, 'badArchive', /neither/);
  });

  it('keeps its limits on entries, bytes and the depth of indexes', async () => {
    const whole = await ociTar({ layer: await layer() });
    await expectRefused(whole, 'tooLarge', /entries/, { entries: 3 });
    await expectRefused(whole, 'tooLarge', /larger than 1000 bytes/, { totalBytes: 1000 });
    await expectRefused(whole, 'tooLarge', /larger than 20 bytes/, { blobBytes: 20 });
    const bomb = gzipSync(await tarOf([{ name: 'zeros', content: Buffer.alloc(4 << 20) }]));
    await expectRefused(bomb, 'tooLarge', /larger than/, { totalBytes: 1 << 20 });
    const loop = await nestedIndex(6);
    await expectRefused(loop, 'tooLarge', /deep/);
  });

  it('refuses another platform, another compression, and what is no image', async () => {
    await expectRefused(await ociTar({ layer: await layer(), arch: 'arm64' }), 'unsupported', /arm64/);
    await expectRefused(Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0]), 'unsupported', /zstd/);
    const chart = await ociTar({
      layer: await layer(),
      index: (t) => ({ schemaVersion: 2, manifests: [{ mediaType: 'application/x-chart', ...t }] }),
    });
    await expectRefused(chart, 'unsupported', /application\/x-chart/);
  });
});

async function dockerTar(layers: Buffer[], stored: Buffer): Promise<Buffer> {
  const config = JSON.stringify({
    architecture: 'amd64',
    os: 'linux',
    config: {},
    rootfs: { type: 'layers', diff_ids: layers.map((tar) => digestOf(tar)) },
  });
  return tarOf([
    { name: 'real/layer.tar', content: stored },
    { name: 'again/layer.tar', type: 'symlink', linkname: '../real/layer.tar' },
    { name: 'c.json', content: config },
    { name: 'manifest.json', content: JSON.stringify([{ Config: 'c.json', Layers: ['again/layer.tar'] }]) },
  ]);
}

async function nestedIndex(depth: number): Promise<Buffer> {
  const items: { name: string; content: Buffer }[] = [];
  let target: { digest: Digest; size: number } = { digest: digestOf('none'), size: 4 };
  for (let i = 0; i < depth; i++) {
    const manifests = [{ mediaType: indexType, ...target }];
    const content = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests }));
    target = { digest: digestOf(content), size: content.length };
    items.push({ name: i === depth - 1 ? 'index.json' : blobPath(target.digest), content });
  }
  return tarOf(items);
}
