import { posix } from 'node:path';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ImageError } from './image-error.js';
import { pax, rawTar } from './raw-tar-fixture.js';
import { archivePath, tarEntries } from './tar-entries.js';

const part = fc.oneof(
  fc.constantFrom(
    '..',
    '.',
    '',
    'a',
    'b c',
    '.wh.x',
    '$(id)',
    '\n',
    '\\',
    '\0',
    '\u202e',
    '\uff0e',
    '~',
    '-rf',
    '%2e%2e',
    'é',
  ),
  fc.string({ unit: 'binary', maxLength: 8 }),
);
const path = fc.array(part, { maxLength: 7 }).map((parts) => parts.join('/'));

it('10,000 paths either are refused or lie below the root, as path resolution reads them', () => {
  let taken = 0;
  fc.assert(
    fc.property(path, (name) => {
      let parts: string[];
      try {
        parts = archivePath(name, 64, 'badLayer');
      } catch (e) {
        expect(e).toBeInstanceOf(ImageError);
        return;
      }
      taken++;
      expect(posix.resolve('/jail/root', name)).toBe(['/jail/root', ...parts].join('/'));
      expect(parts.every((p) => p !== '' && p !== '.' && p !== '..' && !p.includes('\0'))).toBe(true);
    }),
    { numRuns: 10_000 },
  );
  expect(taken).toBeGreaterThan(1000);
});

it('10,000 names come back from a tar as they were written, and never name a second entry', async () => {
  // What a Buffer cannot hold (half of a surrogate pair) is no name.
  const names = fc.array(fc.tuple(path, path), { minLength: 20, maxLength: 20 });
  const sound = (text: string) =>
    text !== '' && !text.includes('\0') && Buffer.from(text).toString() === text && !text.endsWith('/');
  await fc.assert(
    fc.asyncProperty(names, async (all) => {
      const wanted = all.filter(([name, link]) => sound(name) && sound(link));
      const tar = rawTar(
        ...wanted.flatMap(([name, link]) => [pax({ path: name, linkpath: link }), { flag: '2', link: 'x' }]),
      );
      const read: [string, string][] = [];
      for await (const { header } of tarEntries(Readable.from([tar], { objectMode: false }), 1 << 24))
        read.push([header.name, header.linkname]);
      expect(read).toEqual(wanted);
    }),
    { numRuns: 500 /* of 20 names */ },
  );
});

it('10,000 spoiled archives end in entries or a refusal, and never hang', async () => {
  const good = rawTar(pax({ path: 'a/b', size: '3' }), { body: 'abc' }, { name: 'l', flag: '2', link: 'x' });
  const change = fc.record({ at: fc.nat(good.length - 1), byte: fc.nat(255) });
  const cut = fc.oneof(fc.constant(good.length), fc.nat(good.length));
  await fc.assert(
    fc.asyncProperty(fc.array(change, { maxLength: 4 }), cut, async (changes, length) => {
      const tar = Buffer.from(good.subarray(0, length));
      for (const { at, byte } of changes) if (at < length) tar[at] = byte;
      try {
        for await (const entry of tarEntries(Readable.from([tar], { objectMode: false }), 1 << 20))
          for await (const piece of entry.content) expect(piece.length).toBeGreaterThan(0);
      } catch (e) {
        expect(e).toBeInstanceOf(ImageError);
      }
    }),
    { numRuns: 10_000 },
  );
});
