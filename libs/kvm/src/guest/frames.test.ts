import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { frameEncode, FrameReader, PAYLOAD_BYTES, type Frame } from './frames.js';
import { configDisk, fieldsEncode } from './guest-fields.js';

const frame = fc.record({
  kind: fc.constantFrom('O', 'F', 'C', 'Z', 'H'),
  id: fc.nat(0xffff_ffff),
  // Long runs with and without zeros: COBS counts to 254.
  payload: fc
    .array(fc.record({ byte: fc.constantFrom(0, 1, 255), count: fc.integer({ min: 1, max: 600 }) }), {
      maxLength: 8,
    })
    .map((runs) => Buffer.concat(runs.map(({ byte, count }) => Buffer.alloc(count, byte)))),
});

const plain = ({ kind, id, payload }: Frame) => ({ kind, id, payload: payload.toString('hex') });

/** Cuts a stream at these places. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [0, ...places.map((p) => p % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, i) => bytes.subarray(at[i], end));
}

describe('frames', () => {
  it('come out as they went in, however the stream is cut, and hold no zero but their last byte', () => {
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 6 }),
        fc.array(fc.nat(), { maxLength: 9 }),
        (frames, places) => {
          const coded = frames.map((f) => frameEncode(f.kind, f.id, f.payload));
          for (const one of coded) expect(one.indexOf(0)).toBe(one.length - 1);
          const reader = new FrameReader();
          const read = cut(Buffer.concat(coded), places).flatMap((part) => reader.feed(part));
          expect(read.map(plain)).toEqual(frames.map(plain));
        },
      ),
    );
  });

  it('are found again after whatever a guest sent', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4 * PAYLOAD_BYTES }), frame, (junk, { kind, id, payload }) => {
        const reader = new FrameReader();
        reader.feed(Buffer.from(junk));
        reader.feed(Buffer.of(0));
        expect(reader.feed(frameEncode(kind, id, payload)).map(plain)).toEqual([
          plain({ kind, id, payload }),
        ]);
      }),
    );
  });

  it('that are too long are refused by who writes, and dropped by who reads', () => {
    expect(() => frameEncode('O', 1, Buffer.alloc(PAYLOAD_BYTES + 1))).toThrow(RangeError);
    const reader = new FrameReader();
    expect(reader.feed(Buffer.concat([Buffer.alloc(100 * PAYLOAD_BYTES, 7), Buffer.of(0)]))).toEqual([]);
  });
});

describe('fields', () => {
  it('hold any text but a NUL', () => {
    const text = fc.string({ unit: 'binary' }).map((t) => t.replaceAll('\0', ''));
    fc.assert(
      fc.property(fc.array(text), (values) => {
        const coded = fieldsEncode(values.map((value) => ['env', value]));
        const read = coded.toString('utf8').split('\0').slice(0, -1);
        expect(read).toEqual(values.map((value) => `env=${Buffer.from(value).toString('utf8')}`));
        expect(configDisk(values.map((value) => ['env', value])).length % 512).toBe(0);
      }),
    );
    expect(() => fieldsEncode([['env', 'A=\0']])).toThrow('NUL');
    expect(() => fieldsEncode([['a=b', '']])).toThrow('not a field');
  });
});
