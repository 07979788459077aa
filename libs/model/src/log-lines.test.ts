import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { asWritten, LogFrames, LogRenderer, type LogForm } from './log-lines.js';

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** What is shown of a log that comes in chunks of so many bytes. */
function shown(log: string | Buffer, form: LogForm, size = 7): string {
  const [raw, frames, renderer] = [Buffer.from(log as string), new LogFrames(), new LogRenderer(form)];
  const out: Uint8Array[] = [];
  for (let n = 0; n < raw.length; n += size)
    for (const frame of frames.feed(raw.subarray(n, n + size))) out.push(renderer.show(frame));
  return text(Buffer.concat(out));
}
const objects = (log: string | Buffer): unknown[] =>
  shown(log, { format: 'json', timestamps: false })
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as unknown);

const at = '2026-01-02T03:04:05.678901234+00:00';

describe('a log in frames', () => {
  it('is one JSON object for each frame, in UTC, with what belongs to a longer line marked', () => {
    const east = '2026-01-02T05:04:05.678901234+02:00';
    const log = `${at} stdout F one\n${east} stderr P tw\n${at} stdout F "in between"\n${east} stderr F o\n`;
    const time = '2026-01-02T03:04:05.678901234Z';
    expect(objects(log)).toEqual([
      { time, stream: 'stdout', text: 'one' },
      { time, stream: 'stderr', text: 'tw', partial: true },
      { time, stream: 'stdout', text: '"in between"' },
      { time, stream: 'stderr', text: 'o' },
    ]);
  });

  it('keeps a character whole that two frames share, and replaces what is none', () => {
    const euro = Buffer.from('€');
    const log = Buffer.concat([
      Buffer.from(`${at} stdout P a`),
      euro.subarray(0, 1),
      Buffer.from(`\n${at} stderr F b\n${at} stdout F `),
      euro.subarray(1),
      Buffer.from(`\n${at} stdout F `),
      Buffer.of(0xff),
      Buffer.from('\n'),
    ]);
    expect(objects(log).map((o) => (o as { text: string }).text)).toEqual(['a', 'b', '€', '\ufffd']);
  });

  it('begins each line with its time where that is wanted, and no part of one', () => {
    const log = `${at} stdout P one, \n${at} stdout F still one\nnot a frame\n`;
    expect(shown(log, { format: 'text', timestamps: true })).toBe(
      '2026-01-02T03:04:05.678901234Z one, still one\nnot a frame\n',
    );
  });

  it('is the same however it is cut into chunks, and says in JSON what it says as text', () => {
    const frame = fc.record({
      part: fc.boolean(),
      stream: fc.constantFrom('stdout', 'stderr'),
      line: fc.string({ unit: 'grapheme' }).filter((line) => !line.includes('\n')),
    });
    fc.assert(
      fc.property(fc.array(frame), fc.integer({ min: 1, max: 50 }), (frames, size) => {
        const log = frames.map((f) => `${at} ${f.stream} ${f.part ? 'P' : 'F'} ${f.line}\n`).join('');
        const json = shown(log, { format: 'json', timestamps: false }, size);
        expect(json).toBe(shown(log, { format: 'json', timestamps: false }, log.length + 1));
        const said = json.split('\n').slice(0, -1);
        const of = said.map((line) => JSON.parse(line) as { text: string; partial?: true });
        expect(of.map((o) => o.text + (o.partial ? '' : '\n')).join('')).toBe(shown(log, asWritten, size));
      }),
    );
  });
});
