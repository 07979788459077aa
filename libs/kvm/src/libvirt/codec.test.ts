import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  encodeMessage,
  FrameDecoder,
  MAX_MESSAGE,
  readDomain,
  readDomains,
  readError,
  writeDomain,
} from './protocol.js';
import { XdrError, XdrReader, XdrWriter } from './xdr.js';

const header = { program: 1, version: 1, procedure: 2, type: 0, serial: 3, status: 0 };

/** Runs a decoder on hostile bytes: only its own error may come out. */
function survives(decode: () => unknown): void {
  try {
    decode();
  } catch (error) {
    expect(error).toBeInstanceOf(XdrError);
  }
}

describe('the XDR codec', () => {
  it('reads back what it wrote', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme' }).filter((s) => !s.includes('\0')),
        fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        fc.uint8Array(),
        (text, int, hyper, bytes) => {
          const reader = new XdrReader(
            new XdrWriter().string(text).int(int).uhyper(hyper).opaque(bytes).bytes(),
          );
          expect([reader.string(), reader.int(), reader.uhyper(), [...reader.opaque()]]).toEqual([
            text,
            int,
            hyper,
            [...bytes],
          ]);
          reader.end();
        },
      ),
    );
  });

  it('never fails on random bytes with anything but its own error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        const buffer = Buffer.from(bytes);
        survives(() => readError(new XdrReader(buffer)));
        survives(() => readDomain(new XdrReader(buffer)));
        survives(() => readDomains(new XdrReader(buffer)));
        survives(() => new FrameDecoder().push(buffer));
      }),
      { numRuns: 2_000 },
    );
  });

  it('refuses lengths that the bytes at hand cannot hold, before it allocates', () => {
    const claim = (count: number): XdrReader => new XdrReader(new XdrWriter().uint(count).bytes());
    expect(() => claim(4_000_000).string()).toThrow('0 left');
    expect(() => claim(0xffffffff).string()).toThrow('above the bound');
    expect(() => readDomains(claim(16_000))).toThrow('does not fit');
    expect(() => readDomains(claim(0xffffffff))).toThrow('above the bound');
  });

  it('refuses a string with NUL and padding that is not zero', () => {
    expect(() => new XdrWriter().string('a\0b')).toThrow(XdrError);
    expect(() => new XdrReader(Buffer.from([0, 0, 0, 1, 65, 1, 0, 0])).string()).toThrow('padding');
  });
});

describe('the frame decoder', () => {
  it('gives the same messages however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 6 }),
        fc.integer({ min: 1, max: 50 }),
        (payloads, size) => {
          const stream = Buffer.concat(payloads.map((payload) => encodeMessage(header, payload)));
          const decoder = new FrameDecoder();
          const got: Buffer[] = [];
          for (let at = 0; at < stream.length; at += size)
            got.push(...decoder.push(stream.subarray(at, at + size)).map((message) => message.payload));
          expect(got.map((payload) => [...payload])).toEqual(payloads.map((payload) => [...payload]));
        },
      ),
    );
  });

  it('refuses a length that is too small for a header or above 32 MiB', () => {
    const length = (value: number): Buffer => new XdrWriter().uint(value).bytes();
    expect(() => new FrameDecoder().push(length(27))).toThrow('not possible');
    expect(() => new FrameDecoder().push(length(MAX_MESSAGE + 1))).toThrow('not possible');
    expect(new FrameDecoder().push(length(MAX_MESSAGE))).toEqual([]);
  });

  it('keeps a domain as it is over the wire', () => {
    const domain = { name: 'a', uuid: '6f1d2f7e-2a0b-4c57-9df5-7b7d4a2a1c11', id: -1 };
    const writer = new XdrWriter();
    writeDomain(writer, domain);
    expect(readDomain(new XdrReader(writer.bytes()))).toEqual(domain);
  });
});
