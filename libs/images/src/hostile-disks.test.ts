import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { inspectDisk, inspectNewDisk } from './disk-inspect.js';

/** Disk images that mean harm, each with the code of its refusal: made from one honest image of 16 MiB. */
let dir: string;
let honest: Buffer;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-hostile-disk-'));
  writeFileSync(join(dir, 'secret'), 'SECRET'.repeat(1024));
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', join(dir, 'honest'), '16M']);
  honest = readFileSync(join(dir, 'honest'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Where the fields of the header lie (QEMU, docs/interop/qcow2). */
const at = {
  version: 4,
  backingOffset: 8,
  backingSize: 16,
  clusterBits: 20,
  size: 24,
  crypt: 32,
  l1Entries: 36,
  l1Offset: 40,
  refcountOffset: 48,
  refcountClusters: 56,
  snapshots: 60,
  snapshotsOffset: 64,
  incompatible: 72,
  autoclear: 88,
  refcountOrder: 96,
  headerLength: 100,
  compression: 104,
};
type Field = keyof typeof at;
const wide = new Set<Field>([
  'backingOffset',
  'size',
  'l1Offset',
  'refcountOffset',
  'snapshotsOffset',
  'incompatible',
  'autoclear',
]);

function qcow2(fields: Partial<Record<Field, number | bigint>>, text?: readonly [number, Buffer]): Buffer {
  const image = Buffer.from(honest);
  for (const [name, value] of Object.entries(fields) as [Field, number | bigint][])
    if (wide.has(name)) image.writeBigUInt64BE(BigInt(value), at[name]);
    else if (name === 'compression') image.writeUInt8(Number(value), at[name]);
    else image.writeUInt32BE(Number(value), at[name]);
  text?.[1].copy(image, text[0]);
  return image;
}

function extension(type: number, length: number, content = ''): readonly [number, Buffer] {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(type, 0);
  head.writeUInt32BE(length, 4);
  return [honest.readUInt32BE(at.headerLength), Buffer.concat([head, Buffer.from(content)])];
}

/** A whole raw disk with these bytes somewhere; negative: from its end. */
function raw(position: number, bytes: string): Buffer {
  const disk = Buffer.alloc(1 << 20);
  disk.write(bytes, position < 0 ? disk.length + position : position, 'latin1');
  return disk;
}

const descriptor = () =>
  `# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 8 FLAT "${join(dir, 'secret')}" 0\n`;

type Code = 'badDisk' | 'unsupported' | 'tooLarge';
const table: readonly (readonly [string, Code, () => Buffer])[] = [
  [
    'a backing file of the host',
    'unsupported',
    () => qcow2({ backingOffset: 512, backingSize: 11 }, [512, Buffer.from('/etc/shadow')]),
  ],
  ['a backing file by its offset alone', 'unsupported', () => qcow2({ backingOffset: 512 })],
  ['a backing file by its length alone', 'unsupported', () => qcow2({ backingSize: 11 })],
  [
    'a backing file over the network',
    'unsupported',
    () => qcow2({ backingOffset: 512, backingSize: 20 }, [512, Buffer.from('nbd:192.0.2.1:10809 ')]),
  ],
  ['a backing format without a name', 'unsupported', () => qcow2({}, extension(0xe2792aca, 3, 'raw'))],
  ['a data file', 'unsupported', () => qcow2({ incompatible: 4 })],
  ['a data file by its extension', 'unsupported', () => qcow2({}, extension(0x44415441, 11, '/etc/shadow'))],
  ['an encryption header', 'unsupported', () => qcow2({}, extension(0x0537be77, 16))],
  ['AES', 'unsupported', () => qcow2({ crypt: 1 })],
  ['LUKS inside', 'unsupported', () => qcow2({ crypt: 2 })],
  ['unknown encryption', 'unsupported', () => qcow2({ crypt: 0xffffffff })],
  ['an unknown feature', 'unsupported', () => qcow2({ incompatible: 1n << 63n })],
  ['all features', 'unsupported', () => qcow2({ incompatible: 2n ** 64n - 1n })],
  ['an unknown compression', 'unsupported', () => qcow2({ compression: 7 })],
  ['version 1', 'unsupported', () => qcow2({ version: 1 })],
  ['version 4', 'unsupported', () => qcow2({ version: 4 })],
  ['clusters of 2^8 bytes', 'badDisk', () => qcow2({ clusterBits: 8 })],
  ['clusters of 2^22 bytes', 'badDisk', () => qcow2({ clusterBits: 22 })],
  ['clusters of 2^4294967295 bytes', 'badDisk', () => qcow2({ clusterBits: 0xffffffff })],
  ['a header length that is too short', 'badDisk', () => qcow2({ headerLength: 72 })],
  ['a header length beyond the file', 'badDisk', () => qcow2({ headerLength: 0xfffffff8 })],
  ['a header length that is odd', 'badDisk', () => qcow2({ headerLength: 105 })],
  ['an extension longer than its cluster', 'badDisk', () => qcow2({}, extension(0x12345678, 0xffffff00))],
  ['an L1 table of 2^32 entries', 'badDisk', () => qcow2({ l1Entries: 0xffffffff })],
  ['an L1 table outside', 'badDisk', () => qcow2({ l1Offset: 1n << 40n })],
  ['an L1 table that wraps around', 'badDisk', () => qcow2({ l1Offset: 2n ** 64n - 65536n })],
  ['an L1 table over the header', 'badDisk', () => qcow2({ l1Offset: 0 })],
  ['an L1 table off its cluster', 'badDisk', () => qcow2({ l1Offset: 65537 })],
  ['a refcount table outside', 'badDisk', () => qcow2({ refcountOffset: 1n << 50n })],
  ['a refcount table of 2^32 clusters', 'badDisk', () => qcow2({ refcountClusters: 0xffffffff })],
  ['no refcount table', 'badDisk', () => qcow2({ refcountClusters: 0 })],
  ['refcounts of 2^32 bits', 'badDisk', () => qcow2({ refcountOrder: 32 })],
  ['snapshots without end', 'unsupported', () => qcow2({ snapshots: 0xffffffff, snapshotsOffset: 65536 })],
  ['one snapshot', 'unsupported', () => qcow2({ snapshots: 1, snapshotsOffset: 65536 })],
  ['no size', 'badDisk', () => qcow2({ size: 0 })],
  ['a size of 2^64', 'badDisk', () => qcow2({ size: 2n ** 64n - 512n })],
  ['a size beyond its L1 table', 'badDisk', () => qcow2({ size: 2n ** 45n })],
  ['a size that is no sector', 'badDisk', () => qcow2({ size: (16 << 20) + 1 })],
  ['a header and nothing else', 'badDisk', () => honest.subarray(0, 112)],
  ['a header that is cut off', 'badDisk', () => honest.subarray(0, 50)],
  ['a VMDK descriptor with an extent of the host', 'unsupported', () => raw(0, descriptor())],
  ['a short VMDK descriptor', 'unsupported', () => Buffer.from(descriptor())],
  ['a VMDK descriptor behind blank lines', 'unsupported', () => raw(0, `\n \n#c\n${descriptor()}`)],
  ['VMDK', 'unsupported', () => raw(0, 'KDMV')],
  ['VMDK of ESX', 'unsupported', () => raw(0, 'COWD')],
  ['VHD', 'unsupported', () => raw(0, 'conectix')],
  ['a fixed VHD', 'unsupported', () => raw(-512, 'conectix')],
  ['VHDX', 'unsupported', () => raw(0, 'vhdxfile')],
  ['QED', 'unsupported', () => raw(0, 'QED\0')],
  ['VDI', 'unsupported', () => raw(64, '\x7f\x10\xda\xbe')],
  ['LUKS', 'unsupported', () => raw(0, 'LUKS\xba\xbe')],
  ['Bochs', 'unsupported', () => raw(0, 'Bochs Virtual HD Image')],
  ['Parallels', 'unsupported', () => raw(0, 'WithoutFreeSpace')],
  ['Parallels, extended', 'unsupported', () => raw(0, 'WithouFreSpacExt')],
  ['DMG', 'unsupported', () => raw(-512, 'koly')],
  ['cloop', 'unsupported', () => raw(0, '#!/bin/sh\n#V2.0 Format\n')],
  ['qcow 1', 'unsupported', () => raw(0, 'QFI\xfb\0\0\0\x01')],
];

it.each(table)('refuses %s as %s', async (name, code, image) => {
  const path = join(dir, 'image');
  const bytes = image();
  writeFileSync(path, bytes);
  for (const inspect of [inspectDisk, inspectNewDisk])
    await expect(inspect(path), name).rejects.toMatchObject({ name: 'ImageError', code });
  expect(readFileSync(path).equals(bytes)).toBe(true);
  expect(readdirSync(dir).sort()).toEqual(['honest', 'image', 'secret']);
});

/** 3 MiB of data, in forms whose tables look different. */
const forms = [
  '',
  'cluster_size=512',
  'cluster_size=2M',
  'extended_l2=on',
  'compat=0.10',
  'preallocation=metadata',
];
const written = (options: string, ...more: string[]): string => {
  const [source, path] = [join(dir, 'source'), join(dir, 'written')];
  writeFileSync(source, randomBytes(3 << 20));
  const form = options === '' ? [] : ['-o', options];
  execFileSync('qemu-img', ['convert', '-q', '-f', 'raw', '-O', 'qcow2', ...form, ...more, source, path]);
  rmSync(source);
  return path;
};

it.each([
  ...forms.map((form) => [form, []] as const),
  ['', ['-c']],
  ['compression_type=zstd', ['-c']],
] as const)(
  'takes an image whole, and cut short before its last cluster no more (%s %j)',
  async (form, more) => {
    const path = written(form, ...more);
    const { size } = statSync(path);
    expect(await inspectNewDisk(path)).toMatchObject({ format: 'qcow2', virtualSizeMiB: 3 });
    for (const share of [0.8, 0.5, 0.2, 0.05]) {
      truncateSync(path, Math.floor(size * share));
      await expect(inspectNewDisk(path), `${share}`).rejects.toMatchObject({ code: 'badDisk' });
    }
    rmSync(path);
  },
);

it.each([
  ['a second-level table outside', at.l1Offset, 1n << 40n],
  ['a second-level table between clusters', at.l1Offset, 0x10200n],
  ['counts of references outside', at.refcountOffset, 1n << 40n],
])('refuses %s in a new image', async (_, table, entry) => {
  const path = join(dir, 'image');
  const image = Buffer.from(honest);
  image.writeBigUInt64BE(entry, Number(image.readBigUInt64BE(table)));
  writeFileSync(path, image);
  await expect(inspectNewDisk(path)).rejects.toMatchObject({ code: 'badDisk' });
  rmSync(path);
});

it('takes the honest image that the others were made from', async () => {
  expect(await inspectNewDisk(join(dir, 'honest'))).toMatchObject({ format: 'qcow2', virtualSizeMiB: 16 });
});
