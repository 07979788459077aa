import { promisify } from 'node:util';
import { crc32, deflate } from 'node:zlib';

/** Pixels of three bytes, red, green and blue, row by row from the top left. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly rgb: Uint8Array;
}

/* Constants of the PNG specification (ISO/IEC 15948), clauses 5.2, 11.2 and 9.2. */
const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const [bitsOfSample, trueColour] = [8, 2];
const unfiltered = 0;

const deflated = promisify(deflate);

/** A picture as a PNG file. The pool of libuv compresses it: this process goes on meanwhile. */
export async function pngOf({ width, height, rgb }: Picture): Promise<Buffer> {
  const row = width * 3;
  const lines = Buffer.alloc(height * (row + 1));
  for (let y = 0; y < height; y += 1) {
    lines[y * (row + 1)] = unfiltered;
    lines.set(rgb.subarray(y * row, (y + 1) * row), y * (row + 1) + 1);
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([bitsOfSample, trueColour], 8);
  const data = (await deflated(lines)) as Buffer;
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', data),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Buffer): Buffer {
  const named = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(named));
  return Buffer.concat([length, named, sum]);
}
