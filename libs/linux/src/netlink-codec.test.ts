import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  attr,
  attributesDecode,
  attributesEncode,
  cidrEncode,
  errorDecode,
  ifnameCheck,
  ipv4Encode,
  macDecode,
  macEncode,
  messageEncode,
  messagesDecode,
  NLM_F,
} from './netlink-codec.js';

test('attributes come back as they were written', () => {
  const list = fc.uniqueArray(
    fc.tuple(fc.integer({ min: 0, max: 0x3fff }), fc.uint8Array({ maxLength: 70 })),
    {
      selector: ([type]) => type,
    },
  );
  fc.assert(
    fc.property(list, (attributes) => {
      const bytes = attributesEncode(attributes.map(([type, value]) => attr.bytes(type, value)));
      expect(bytes.length % 4).toBe(0);
      const read = [...attributesDecode(bytes)].map(([type, value]) => [type, [...value]]);
      expect(read).toEqual(attributes.map(([type, value]) => [type, [...value]]));
    }),
  );
});

test('messages come back as they were written, several in one datagram', () => {
  const one = fc.record({
    type: fc.integer({ min: 16, max: 200 }),
    flags: fc.nat(0xffff),
    seq: fc.nat(),
    head: fc.uint8Array({ minLength: 4, maxLength: 4 }),
  });
  fc.assert(
    fc.property(fc.array(one, { maxLength: 4 }), (list) => {
      const bytes = Buffer.concat(list.map((m) => messageEncode({ ...m, attributes: [] })));
      const read = messagesDecode(bytes);
      expect(read.map((m) => [m.type, m.flags, m.seq, [...m.payload]])).toEqual(
        list.map((m) => [m.type, m.flags, m.seq, [...m.head]]),
      );
    }),
  );
});

test('random bytes are decoded within their bounds or refused, and never loop', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      for (const decode of [messagesDecode, attributesDecode]) {
        try {
          decode(Buffer.from(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }
    }),
  );
});

test('a refusal carries the errno and the words of the kernel', () => {
  const words = attributesEncode([attr.text(1, 'no such thing')]);
  const payload = Buffer.concat([Buffer.alloc(20), words]);
  payload.writeInt32LE(-19, 0);
  const message = { type: 2, flags: NLM_F.CAPPED | NLM_F.ACK_TLVS, seq: 1, payload };
  expect(errorDecode(message)).toEqual({ errno: 19, detail: 'no such thing' });
  expect(errorDecode({ ...message, flags: 0 })).toEqual({ errno: 19, detail: null });
});

test('addresses of every kind round trip, and anything else is refused', () => {
  fc.assert(
    fc.property(fc.ipV4(), fc.integer({ min: 0, max: 32 }), (address, prefix) => {
      expect([...ipv4Encode(address)].join('.')).toBe(address);
      expect(cidrEncode(`${address}/${prefix}`).prefix).toBe(prefix);
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (bytes) => {
      expect([...macEncode(macDecode(Buffer.from(bytes)))]).toEqual([...bytes]);
    }),
  );
  for (const bad of [
    '',
    '1.2.3',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.4\n',
    ' 1.2.3.4',
    '1.2.3.4/33',
    '1.2.3.4/',
    '1.2.3.4/8/8',
  ]) {
    expect(() => cidrEncode(bad)).toThrow(RangeError);
  }
  for (const bad of ['', '02:00:00:00:00', '02:00:00:00:00:0g', '02:00:00:00:00:01\n']) {
    expect(() => macEncode(bad)).toThrow(RangeError);
  }
  for (const bad of ['', '.', '..', 'a/b', 'a b', 'a\n', 'sixteen-letters-']) {
    expect(() => ifnameCheck(bad)).toThrow(RangeError);
  }
  expect(() => attr.text(1, 'a\0b')).toThrow(RangeError);
});
