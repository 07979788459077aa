import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { placeAt, placeParse, placeText, placeWindow, PlaceSearch } from './log-place.js';

const found = (place: Parameters<typeof placeText>[0], log: Uint8Array, cut = 1000): number | null => {
  const search = new PlaceSearch(place);
  for (let at = 0; at < log.length; at += cut) search.feed(log.subarray(at, at + cut));
  return search.found;
};
/** A log in which no two windows are alike. Its shortest lines have seven bytes. */
const logOf = (length: number): Uint8Array => {
  const lines = Array.from({ length: Math.ceil(length / 7) }, (_, i) => `line ${i}\n`).join('');
  return new TextEncoder().encode(lines).subarray(0, length);
};

describe('a place in a log', () => {
  it('is found again wherever the reader stood, and however much came since', () => {
    fc.assert(
      fc.property(fc.nat(20_000), fc.nat(20_000), fc.nat(9000), (read, more, began) => {
        const log = logOf(read + more);
        const last = log.subarray(Math.min(began, read), read);
        expect(found(placeAt(1, read, last), log)).toBe(read);
      }),
      { numRuns: 60 },
    );
  });
  it('is found where its host has dropped the oldest bytes', () => {
    const log = logOf(30_000);
    expect(found(placeAt(1, 20_000, log.subarray(0, 20_000)), log.subarray(9000))).toBe(11_000);
  });
  it('is nowhere when what was read last was dropped too', () => {
    const log = logOf(30_000);
    expect(found(placeAt(1, 10_000, log.subarray(0, 10_000)), log.subarray(12_000))).toBeNull();
    expect(found(placeAt(1, 10_000, new Uint8Array()), log.subarray(25_000))).toBeNull();
  });
  it('is itself where everything looks alike, as long as nothing was dropped', () => {
    const log = new Uint8Array(50_000).fill(10);
    expect(found(placeAt(1, 20_000, log.subarray(0, 20_000)), log)).toBe(20_000);
  });
  it('has a text', () => {
    const place = placeAt(7, 20_000, logOf(20_000));
    expect(place.window).toBe(placeWindow);
    expect(placeParse(placeText(place))).toEqual(place);
    for (const text of [
      '',
      '1',
      '1.2.3',
      '1.2.3.0000000000000000',
      '1.9999.5000.0000000000000000',
      '1.2.1.XX',
    ])
      expect(placeParse(text)).toBeNull();
  });
});
