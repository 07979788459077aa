import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inspectDisk } from './disk-inspect.js';
import { ImageError } from './image-error.js';
import { qcow2Inspect } from './qcow2-header.js';

let dir: string;
beforeAll(() => (dir = mkdtempSync(join(tmpdir(), 'berth-disk-'))));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function qemuImg(name: string, ...args: string[]): string {
  const path = join(dir, name);
  execFileSync('qemu-img', ['create', '-q', ...args.slice(0, -1), path, args.at(-1) ?? ''], { cwd: dir });
  return path;
}

const expectRefused = (path: string, code: string, words: RegExp) =>
  expect(inspectDisk(path)).rejects.toMatchObject({ code, message: expect.stringMatching(words) as string });

/** A whole image with some bytes of its header replaced. */
function patched(name: string, at: number, bytes: number[]): string {
  const path = qemuImg(name, '-f', 'qcow2', '10M');
  const image = readFileSync(path);
  Buffer.from(bytes).copy(image, at);
  writeFileSync(path, image);
  return path;
}

describe('inspectDisk', () => {
  it('reads the size of qcow2 images of both versions and of every form that stands alone', async () => {
    for (const option of [
      'compat=0.10',
      'compat=1.1',
      'compat=1.1,cluster_size=512',
      'compat=1.1,cluster_size=2M',
      'compat=1.1,extended_l2=on',
      'compat=1.1,compression_type=zstd',
      'compat=1.1,lazy_refcounts=on',
    ]) {
      const path = qemuImg('ok.qcow2', '-f', 'qcow2', '-o', option, '10752K');
      expect(await inspectDisk(path), option).toEqual({
        format: 'qcow2',
        virtualSizeBytes: 10.5 * 2 ** 20,
        virtualSizeMiB: 11,
      });
    }
  });

  it('takes a raw disk of whole sectors and nothing shorter', async () => {
    const path = join(dir, 'raw');
    writeFileSync(path, Buffer.alloc(1024 * 1024 + 512));
    expect(await inspectDisk(path)).toMatchObject({ format: 'raw', virtualSizeMiB: 2 });
    writeFileSync(path, '<html>404</html>');
    await expectRefused(path, 'badDisk', /whole sectors/);
    writeFileSync(path, '');
    await expectRefused(path, 'badDisk', /whole sectors/);
  });

  it('refuses a backing file, also where it is named only by its format', async () => {
    qemuImg('base.raw', '-f', 'raw', '10M');
    const path = qemuImg('over.qcow2', '-f', 'qcow2', '-b', 'base.raw', '-F', 'raw', '10M');
    await expectRefused(path, 'unsupported', /backing file/);
    const image = readFileSync(path);
    image.fill(0, 8, 20); // offset and length of the name; the format's extension stays
    writeFileSync(path, image);
    await expectRefused(path, 'unsupported', /backing file/);
  });

  it('refuses an external data file and encryption', async () => {
    const external = qemuImg('ext.qcow2', '-f', 'qcow2', '-o', 'data_file=ext.raw', '10M');
    await expectRefused(external, 'unsupported', /another file/);
    // qemu-img cannot time its key derivation on a busy machine: the method is patched in (1: AES, 2: LUKS).
    await expectRefused(patched('aes.qcow2', 35, [1]), 'unsupported', /encrypted/);
    await expectRefused(patched('luks.qcow2', 35, [2]), 'unsupported', /encrypted/);
  });

  it('refuses unknown features, damage, and tables outside of the file', async () => {
    await expectRefused(patched('f.qcow2', 79, [0x20]), 'unsupported', /unknown features \(0x20\)/);
    await expectRefused(patched('f.qcow2', 79, [0x01]), 'badDisk', /not closed cleanly/);
    await expectRefused(patched('f.qcow2', 79, [0x02]), 'badDisk', /corrupt/);
    await expectRefused(patched('f.qcow2', 7, [4]), 'unsupported', /version 4/);
    await expectRefused(patched('f.qcow2', 7, [1]), 'unsupported', /version 1/);
    await expectRefused(patched('f.qcow2', 23, [40]), 'badDisk', /clusters/);
    await expectRefused(patched('f.qcow2', 24, [0, 0, 0x10]), 'badDisk', /L1 table is too short/);
    const short = qemuImg('short.qcow2', '-f', 'qcow2', '10M');
    truncateSync(short, 100_000);
    await expectRefused(short, 'badDisk', /outside/);
  });

  it('refuses every other disk format instead of taking it as raw', async () => {
    for (const [format, words] of [
      ['vmdk', /VMDK/],
      ['vpc', /VHD/],
      ['vhdx', /VHDX/],
      ['qed', /QED/],
      ['vdi', /VDI/],
      ['parallels', /Parallels/],
    ] as const)
      await expectRefused(qemuImg(`x.${format}`, '-f', format, '16M'), 'unsupported', words);
    const fixed = qemuImg('fixed.vhd', '-f', 'vpc', '-o', 'subformat=fixed', '16M');
    await expectRefused(fixed, 'unsupported', /VHD/);
  });

  it('answers any header with a size or a refusal', () => {
    const good = readFileSync(qemuImg('fuzz.qcow2', '-f', 'qcow2', '10M'));
    const change = fc.record({ at: fc.nat(200), byte: fc.nat(255) });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 8 }), (changes) => {
        const head = Buffer.from(good.subarray(0, 64 * 1024));
        for (const { at, byte } of changes) head[at] = byte;
        try {
          expect(qcow2Inspect(head, good.length)).toBeGreaterThan(0);
        } catch (e) {
          if (!(e instanceof ImageError)) throw e;
        }
      }),
    );
  });
});
