import fc from 'fast-check';
import { expect, it } from 'vitest';
import { LineEnds } from './line-ends.js';

it('ends every line as a terminal does, wherever the output is cut, and touches no other byte', () => {
  const piece = fc.string({ unit: fc.constantFrom('a', '\n', '\r') });
  fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      const ends = new LineEnds();
      const shown = pieces.map((text) => ends.whole(Buffer.from(text)).toString()).join('');
      expect(shown).toBe(pieces.join('').replace(/(?<!\r)\n/g, '\r\n'));
    }),
  );
});
