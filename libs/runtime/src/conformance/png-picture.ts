import assert from 'node:assert/strict';
import { crc32, inflateSync } from 'node:zlib';
import type { Picture } from '../png.js';

/**
 * The pixels of a PNG file with eight bits of red, green and blue (ISO/IEC 15948, clauses 5, 9 and 11), whatever filters
 * its writer chose. Fails the test for any other file.
 */
export function pictureOf(png: Uint8Array): Picture {
  const file = Buffer.from(png);
  assert.equal(file.subarray(0, 8).toString('latin1'), '\x89PNG\r\n\x1a\n', 'a screenshot is a PNG file');
  let header: Buffer | null = null;
  const data: Buffer[] = [];
  for (let at = 8; at < file.length;) {
    const length = file.readUInt32BE(at);
    const named = file.subarray(at + 4, at + 8 + length);
    assert.equal(file.readUInt32BE(at + 8 + length), crc32(named), 'each chunk is whole');
    const type = named.subarray(0, 4).toString('latin1');
    if (type === 'IHDR') header = named.subarray(4);
    if (type === 'IDAT') data.push(named.subarray(4));
    at += 12 + length;
  }
  assert.ok(header, 'it has a header');
  assert.deepEqual([...header.subarray(8)], [8, 2, 0, 0, 0], 'it has true colours');
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  return { width, height, rgb: unfiltered(inflateSync(Buffer.concat(data)), width * 3, height) };
}

function unfiltered(lines: Buffer, row: number, height: number): Buffer {
  const out = Buffer.alloc(row * height);
  for (let y = 0; y < height; y += 1) {
    const filter = lines[y * (row + 1)];
    for (let x = 0; x < row; x += 1) {
      const left = x < 3 ? 0 : (out[y * row + x - 3] ?? 0);
      const up = y === 0 ? 0 : (out[(y - 1) * row + x] ?? 0);
      const corner = x < 3 || y === 0 ? 0 : (out[(y - 1) * row + x - 3] ?? 0);
      const guess = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter ?? 5] ?? 0;
      out[y * row + x] = ((lines[y * (row + 1) + 1 + x] ?? 0) + guess) & 0xff;
    }
  }
  return out;
}

function paeth(left: number, up: number, corner: number): number {
  const [toLeft, toUp, toCorner] = [up - corner, left - corner, left + up - 2 * corner].map(Math.abs);
  if ((toLeft ?? 0) <= (toUp ?? 0) && (toLeft ?? 0) <= (toCorner ?? 0)) return left;
  return (toUp ?? 0) <= (toCorner ?? 0) ? up : corner;
}
