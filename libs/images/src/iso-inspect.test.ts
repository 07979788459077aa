import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ImageError } from './image-error.js';
import { inspectIso, isoFacts } from './iso-inspect.js';

let dir: string;
/** By genisoimage, with a boot record, without one, and of both file systems. */
let bootable: Buffer;
let plain: Buffer;
let bridge: Buffer;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-iso-'));
  mkdirSync(join(dir, 'tree'));
  writeFileSync(join(dir, 'tree', 'boot.img'), Buffer.alloc(2048, 0x90));
  writeFileSync(join(dir, 'tree', 'hello.txt'), 'hello\n');
  const made = (...args: string[]): Buffer => {
    const path = join(dir, 'made.iso');
    execFileSync('genisoimage', ['-quiet', '-o', path, '-volid', 'TEST', ...args, join(dir, 'tree')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    return readFileSync(path);
  };
  bootable = made('-b', 'boot.img', '-no-emul-boot', '-boot-load-size', '4');
  plain = made('-rock', '-joliet');
  bridge = made('-udf');
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function inspected(content: Buffer) {
  const path = join(dir, 'given');
  writeFileSync(path, content);
  return inspectIso(path);
}
const refused = (content: Buffer, code: string, words: RegExp) =>
  expect(inspected(content)).rejects.toMatchObject({ code, message: expect.stringMatching(words) as string });
function patched(at: number, bytes: number[], of = plain): Buffer {
  const image = Buffer.from(of);
  Buffer.from(bytes).copy(image, at);
  return image;
}
/** Sectors that begin the sequence of volume descriptors, each with what stands there instead of a type and "CD001". */
const sequence = (...standards: string[]): Buffer =>
  Buffer.concat([
    Buffer.alloc(16 * 2048),
    ...standards.map((text) =>
      Buffer.concat([Buffer.from(`\0${text}\x01`, 'latin1'), Buffer.alloc(2048)]).subarray(0, 2048),
    ),
    Buffer.alloc(2048),
  ]);

describe('inspectIso', () => {
  it('takes what genisoimage makes, and tells whether it can be booted from', async () => {
    expect(await inspected(bootable)).toEqual({ bootable: true });
    expect(await inspected(plain)).toEqual({ bootable: false });
    expect(await inspected(bridge)).toEqual({ bootable: false });
  });

  it('takes UDF alone, and a boot sector before the descriptors', async () => {
    expect(await inspected(sequence('BEA01', 'NSR02', 'TEA01'))).toEqual({ bootable: false });
    expect(await inspected(patched(510, [0x55, 0xaa], bootable))).toEqual({ bootable: true });
  });

  it('refuses what is no medium', async () => {
    await refused(Buffer.from('<html>404</html>'), 'badDisk', /whole sectors/);
    await refused(Buffer.alloc(0), 'badDisk', /no volume descriptor/);
    await refused(Buffer.alloc(64 * 2048), 'badDisk', /no volume descriptor/);
    await refused(sequence('BEA01', 'TEA01'), 'badDisk', /no volume descriptor/);
    // A descriptor where none is looked for.
    await refused(Buffer.concat([Buffer.alloc(2048), plain]), 'badDisk', /no volume descriptor/);
  });

  it('refuses one that was cut short, and descriptors that contradict themselves', async () => {
    await refused(plain.subarray(0, 30 * 2048), 'badDisk', /and the file only 61440/);
    await refused(plain.subarray(0, plain.length - 512), 'badDisk', /whole sectors/);
    await refused(patched(16 * 2048 + 80, [0xff]), 'badDisk', /contradicts/);
    await refused(patched(16 * 2048 + 128, [0, 0, 0, 0]), 'badDisk', /no size/);
  });

  it('refuses what is a disk of another format as well: nobody shall ever take it for one', async () => {
    await refused(patched(0, [0x51, 0x46, 0x49, 0xfb]), 'unsupported', /qcow2/);
    await refused(patched(0, [...Buffer.from('KDMV')]), 'unsupported', /VMDK/);
    await refused(patched(0, [0x1f, 0x8b]), 'unsupported', /gzip/);
  });

  it('answers any descriptors with facts or a refusal', () => {
    const good = bootable.subarray(16 * 2048, 80 * 2048);
    const change = fc.record({ at: fc.nat(good.length - 1), byte: fc.nat(255) });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 8 }), fc.nat(100), (changes, sectors) => {
        const some = Buffer.from(good);
        for (const { at, byte } of changes) some[at] = byte;
        try {
          expect(typeof isoFacts(some, sectors * 2048).bootable).toBe('boolean');
        } catch (e) {
          if (!(e instanceof ImageError)) throw e;
        }
      }),
    );
  });
});
