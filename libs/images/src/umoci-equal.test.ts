import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { attributesAt, mount, MS, umount } from '@berth/linux';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { digestOf, streamOf } from './archive-fixture.js';
import { BlobStore } from './blob-store.js';
import { LayerStore } from './layer-store.js';
import { TAR_END, tarHeader, tarPadding, type TarEntryHead } from './tar-write.js';

/*
 * The same layers unpacked by umoci, and by us and put upon each other by overlayfs, as a container sees them: equal byte for byte, in
 * mode, owner, time to the nanosecond, attributes and links.
 */

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-umoci-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

type Entry = Partial<TarEntryHead> & { readonly name: string; readonly content?: Buffer | string };
let fresh = 0;

/** A layer as our own writer packs it: every time is another one, and not of whole seconds. */
function layerOf(entries: readonly Entry[]): Buffer {
  const parts = entries.flatMap(({ content = '', ...entry }) => {
    const bytes = Buffer.from(content);
    const head: TarEntryHead = {
      ...{ type: 'file', mode: 0o644, uid: 0, gid: 0, size: bytes.length },
      mtime: 1_600_000_000_000_000_000n + BigInt(++fresh) * 1_234_567_891n,
      ...entry,
    };
    return [tarHeader(head), bytes, tarPadding(bytes.length)];
  });
  return Buffer.concat([...parts, TAR_END]);
}
const directory = (name: string, more: Partial<Entry> = {}): Entry => ({
  ...{ name, type: 'directory', mode: 0o755, ...more },
});

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

/** An OCI layout with one image, `it`. */
function layoutOf(layers: readonly Buffer[]): string {
  const at = join(dir, 'layout');
  mkdirSync(join(at, 'blobs/sha256'), { recursive: true });
  const blob = (mediaType: string, bytes: Buffer): object => {
    writeFileSync(join(at, 'blobs', digestOf(bytes).replace(':', '/')), bytes);
    return { mediaType, digest: digestOf(bytes), size: bytes.length };
  };
  const rootfs = { type: 'layers', diff_ids: layers.map(digestOf) };
  const config = blob(
    'application/vnd.oci.image.config.v1+json',
    json({ architecture: 'amd64', os: 'linux', config: {}, rootfs }),
  );
  const manifest = blob(
    'application/vnd.oci.image.manifest.v1+json',
    json({
      schemaVersion: 2,
      config,
      layers: layers.map((tar) => blob('application/vnd.oci.image.layer.v1.tar+gzip', gzipSync(tar))),
    }),
  );
  const annotations = { 'org.opencontainers.image.ref.name': 'it' };
  writeFileSync(
    join(at, 'index.json'),
    json({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }),
  );
  writeFileSync(join(at, 'oci-layout'), json({ imageLayoutVersion: '1.0.0' }));
  return at;
}

/** All that can be seen of a tree; of files with several names the first of them. */
function everything(root: string): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  const first = new Map<bigint, string>();
  const look = (path: string): void => {
    const full = join(root, path);
    const s = lstatSync(full, { bigint: true });
    const linked = s.isDirectory() ? undefined : first.get(s.ino);
    first.set(s.ino, linked ?? path);
    const kept = [...attributesAt(full)].filter(([name]) => /^(user\.|security\.capability$)/.test(name));
    found[path] = {
      mode: s.mode.toString(8),
      owner: `${s.uid}:${s.gid}`,
      mtime: s.mtimeNs,
      content: s.isFile()
        ? `${s.size} ${createHash('sha256').update(readFileSync(full)).digest('hex')}`
        : s.isSymbolicLink()
          ? readlinkSync(full)
          : null,
      attributes: kept.map(([name, value]) => `${name}=${value.toString('hex')}`).sort(),
      ...(linked === undefined ? {} : { linked }),
    };
    if (s.isDirectory())
      for (const name of readdirSync(full).sort()) look(`${path === '/' ? '' : path}/${name}`);
  };
  look('/');
  return found;
}

async function ours(layers: readonly Buffer[]): Promise<Record<string, unknown>> {
  const blobs = new BlobStore(join(dir, 'blobs'));
  const store = new LayerStore(join(dir, 'layers'), blobs);
  const trees: string[] = [];
  for (const tar of layers) {
    const { digest } = await blobs.put(streamOf(gzipSync(tar)), { maxBytes: 1 << 26 });
    const mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip';
    trees.unshift(await store.ensure({ digest, diffId: digestOf(tar), mediaType }));
  }
  if (trees.length === 1) return everything(trees[0] as string);
  const merged = join(dir, 'merged');
  mkdirSync(merged);
  mount('overlay', merged, 'overlay', MS.RDONLY, `lowerdir=${trees.join(':')}`);
  try {
    return everything(merged);
  } finally {
    umount(merged);
  }
}

async function compared(...layers: readonly (readonly Entry[])[]): Promise<Record<string, unknown>> {
  // A directory that a layer only implies is to us one of its own, of root: layers are unpacked without those below them.
  const packed = layers.map((entries) => layerOf([directory('.'), ...entries]));
  execFileSync('umoci', ['unpack', '--image', `${layoutOf(packed)}:it`, join(dir, 'bundle')]);
  const theirs = everything(join(dir, 'bundle/rootfs'));
  const mine = await ours(packed);
  expect(mine).toEqual(theirs);
  return mine;
}

const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');

describe('we unpack as umoci does', () => {
  it('modes, owners, times, every kind of link, and names of any length and alphabet', async () => {
    const long = `${'d'.repeat(120)}/${'e'.repeat(200)}`;
    const found = await compared([
      directory('bin', { mode: 0o555, uid: 3, gid: 4 }),
      { name: 'bin/su', mode: 0o4755, uid: 0, gid: 42, content: 'root' },
      { name: 'bin/wall', mode: 0o2755, gid: 5 },
      { name: 'bin/sudo', type: 'link', linkname: 'bin/su' },
      { name: 'bin/aaa', type: 'link', linkname: 'bin/su' },
      { name: 'bin/sh', type: 'symlink', linkname: '../../etc/passwd', uid: 7, gid: 8, mode: 0o777 },
      { name: 'dangling', type: 'symlink', linkname: '/no/where', mode: 0o777 },
      directory('tmp', { mode: 0o1777 }),
      { name: 'tmp/pipe', type: 'fifo', mode: 0o620, uid: 9 },
      directory('d'.repeat(120)),
      { name: long, content: 'long' },
      { name: 'old', mtime: -1_500_000_001n, content: 'before the epoch' },
      { name: 'late', mtime: 4_102_444_800_000_000_001n, content: 'after 2038' },
      { name: 'large-id', uid: 2_000_000_000, gid: 2_000_000_001 },
      directory('ünïcødé'),
      { name: 'ünïcødé/日本語 \u{1f680}', content: 'x' },
      { name: 'ünïcødé/e\u0301', content: 'one form' },
      { name: 'ünïcødé/\u00e9', content: 'the other' },
      { name: 'with space\tand\nmore "\\', content: 'x' },
      { name: 'none', mode: 0 },
    ]);
    expect(Object.keys(found)).toHaveLength(21);
  });

  it('large files, also those of zeros, byte for byte', async () => {
    const holes = Buffer.alloc(3 * 1024 * 1024);
    for (const at of [0, 1_000_000, holes.length - 1]) holes[at] = 7;
    await compared([
      { name: 'holes', content: holes },
      { name: 'zeros', content: Buffer.alloc(1024 * 1024) },
      { name: 'block', content: Buffer.alloc(512, 1) },
      { name: 'one-more', content: Buffer.alloc(513, 2) },
      { name: 'empty' },
    ]);
  });

  it('attributes of files and directories, and capabilities', async () => {
    const found = await compared([
      {
        ...{ name: 'ping', mode: 0o755, uid: 1, content: 'x' },
        attributes: new Map([
          ['security.capability', capability],
          ['user.note', Buffer.from('grüße\0binary')],
        ]),
      },
      directory('data', {
        attributes: new Map([
          ['user.empty', Buffer.alloc(0)],
          ['user.full', Buffer.alloc(1000, 1)],
        ]),
      }),
      { name: 'same', type: 'link', linkname: 'ping' },
    ]);
    expect(found['/ping']).toMatchObject({
      attributes: [
        `security.capability=${capability.toString('hex')}`,
        expect.stringMatching(/^user\.note=/),
      ],
    });
  });

  it('layers upon layers: deletions, hidden directories, one kind in the place of another', async () => {
    const found = await compared(
      [
        ...['a', 'a/deep', 'b', 'b/deep', 'c', 'kept'].map((name) => directory(name)),
        ...['a/1', 'a/deep/2', 'b/1', 'b/deep/2', 'c/1', 'kept/1', 'kept/2', 'f', 'g', 'h'].map((name) => ({
          name,
          content: name,
        })),
        { name: 'l', type: 'symlink', linkname: 'kept', mode: 0o777 },
      ],
      [
        { name: '.wh.f' },
        directory('a', { mode: 0o700, uid: 5 }),
        { name: 'a/.wh..wh..opq' },
        { name: 'a/new', content: 'in a hidden directory' },
        { name: 'b', content: 'a file in the place of a directory' },
        directory('g', { mode: 0o711 }),
        { name: 'g/inside', content: 'a directory in the place of a file' },
        directory('kept', { mode: 0o2750, gid: 9 }),
        { name: 'kept/.wh.1' },
        { name: 'kept/2', mode: 0o600, content: 'changed' },
        { name: 'l', content: 'a file in the place of a link' },
        { name: '.wh.c' },
      ],
      [directory('c', { uid: 11 }), { name: 'c/again', content: 'back' }, { name: '.wh.h' }],
    );
    expect(Object.keys(found).sort()).toEqual(
      ['/', '/a', '/a/new', '/b', '/c', '/c/again', '/g', '/g/inside', '/kept', '/kept/2', '/l'].sort(),
    );
  });
});
