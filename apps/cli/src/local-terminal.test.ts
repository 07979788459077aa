import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { inputMessages } from '@berth/client';
import { terminalMessageBytes } from '@berth/model';
import { escapeKey, untilEscape } from './escape-key.js';
import { TerminalModes } from './terminal-modes.js';

describe('the key that leaves', () => {
  it.each([
    ['^]', 0x1d, 'Ctrl-]'],
    ['^a', 0x01, 'Ctrl-a'],
    ['^A', 0x01, 'Ctrl-A'],
    ['^\\', 0x1c, 'Ctrl-\\'],
    ['none', null, 'no key'],
  ])('%s sends %s', (text, byte, name) => {
    expect(escapeKey(text)).toEqual({ byte, name });
  });
  it.each(['', 'a', '^', '^1', '^ab', ']'])('"%s" is refused with what could be given', (text) => {
    expect(() => escapeKey(text)).toThrow(/is no key\n {2}-> Give Ctrl/);
  });
  it('takes what was typed before it along, and nothing behind', () => {
    const left = untilEscape(Buffer.from('ab\u001dcd'), escapeKey('^]'));
    expect([Buffer.from(left.send).toString(), left.left]).toEqual(['ab', true]);
    expect(untilEscape(Buffer.from('ab\u001d'), escapeKey('none')).left).toBe(false);
  });
});

describe('what a guest switched in the terminal', () => {
  const undoOf = (...pieces: string[]): string => {
    const modes = new TerminalModes();
    for (const piece of pieces) modes.see(Buffer.from(piece, 'latin1'));
    return modes.undo();
  };
  it('is switched back, each mode once', () => {
    expect(undoOf('\u001b[?1049h\u001b[?25l\u001b[?1000;1006h', 'x', '\u001b[?1000l')).toBe(
      '\u001b[?1049l\u001b[?25h\u001b[?1006l\u001b[0m',
    );
  });
  it('is left alone where the guest had switched it back itself, or never did', () => {
    expect(undoOf('\u001b[?2004h$ \u001b[?2004l\u001b[31m')).toBe('\u001b[0m');
    expect(undoOf('\u001b[?7h\u001b[?25h')).toBe('\u001b[0m');
  });
  it('is seen wherever the output was cut', () => {
    const text = 'a\u001b[?1049hb\u001b[?25lc\u001b[?7;2004hd\u001b]0;title\u0007e\u001b[?25h';
    fc.assert(
      fc.property(fc.array(fc.nat(text.length), { maxLength: 8 }), (cuts) => {
        const at = [0, ...cuts.sort((a, b) => a - b), text.length];
        expect(undoOf(...at.slice(1).map((end, i) => text.slice(at[i], end)))).toBe(undoOf(text));
      }),
    );
  });
});

describe('messages of a terminal', () => {
  it('carry what was typed in order, none longer than one may be', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 200_000 }), (length) => {
        const bytes = Uint8Array.from({ length }, (_, i) => i % 251);
        const messages = inputMessages(bytes);
        for (const m of messages) expect([m[0], m.length <= terminalMessageBytes]).toEqual([0, true]);
        expect(Buffer.concat(messages.map((m) => m.subarray(1))).equals(bytes)).toBe(true);
      }),
      { numRuns: 20 },
    );
  });
});
