import fc from 'fast-check';
import { expect, it } from 'vitest';
import { snapshotNamesIn } from './qcow2-snapshots.js';

/** An entry as QEMU writes it: fixed part, extra data, id, name, padding. */
function entry(name: string, id: string, extraBytes: number): Buffer {
  const fixed = Buffer.alloc(40);
  fixed.writeUInt16BE(Buffer.byteLength(id), 12);
  fixed.writeUInt16BE(Buffer.byteLength(name), 14);
  fixed.writeUInt32BE(extraBytes, 36);
  const whole = Buffer.concat([fixed, Buffer.alloc(extraBytes), Buffer.from(id), Buffer.from(name)]);
  return Buffer.concat([whole, Buffer.alloc((8 - (whole.length % 8)) % 8)]);
}

const entries = fc.array(
  fc.record({
    name: fc.string({ unit: 'grapheme', maxLength: 40 }),
    id: fc.string({ unit: 'grapheme-ascii', maxLength: 20 }),
    extra: fc.integer({ min: 0, max: 64 }),
  }),
  { maxLength: 8 },
);

it('reads the names of every table as it was written, whatever follows it', () => {
  fc.assert(
    fc.property(entries, fc.uint8Array({ maxLength: 64 }), (written, rest) => {
      const table = Buffer.concat([...written.map((e) => entry(e.name, e.id, e.extra)), rest]);
      expect(snapshotNamesIn(table, written.length)).toEqual(written.map((e) => e.name));
    }),
  );
});

it('takes what is cut off, or no table at all, for damaged, and never reads on', () => {
  fc.assert(
    fc.property(entries, fc.nat(), (written, cut) => {
      const table = Buffer.concat(written.map((e) => entry(e.name, e.id, e.extra)));
      fc.pre(table.length > 0);
      const short = table.subarray(0, cut % Math.max(1, table.length - 8));
      expect(() => snapshotNamesIn(short, written.length)).toThrow(/cut off/);
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 0, max: 65_536 }), (bytes, count) => {
      try {
        expect(snapshotNamesIn(Buffer.from(bytes), count)).toHaveLength(count);
      } catch (e) {
        expect((e as Error).message).toMatch(/cut off/);
      }
    }),
  );
});
