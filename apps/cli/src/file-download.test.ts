import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { type FileAnswer, ProblemError } from '@berth/client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { download, type Download } from './file-download.js';

let dir: string;
let asked: [number, string | null][];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-download-'));
  asked = [];
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const bytes = Buffer.from('0123456789');
/** What an answer brings, and whether it is cut after that. */
interface Said {
  readonly from?: number;
  readonly tag?: string;
  readonly text: string;
  readonly cut?: boolean;
}
function answering(...answers: (Said | Error)[]): Download['open'] {
  return (from, tag): Promise<FileAnswer> => {
    asked.push([from, tag]);
    const next = answers.shift();
    if (next === undefined) throw new Error('asked too often');
    if (next instanceof Error) throw next;
    let given = false;
    const body = new ReadableStream<Uint8Array>({
      pull: async (c) => {
        // What a cut finds still on its way is lost with it.
        while (given && next.cut === true && arrived() < next.text.length) await turn();
        if (!given && next.text !== '') c.enqueue(Buffer.from(next.text));
        else if (next.cut === true) c.error(new TypeError('terminated'));
        else c.close();
        given = true;
      },
    });
    return Promise.resolve({
      from: next.from ?? from,
      sizeBytes: bytes.length,
      tag: next.tag ?? '"a"',
      body,
    });
  };
}
const arrived = (): number => statSync(`${at()}.m.part`, { throwIfNoEntry: false })?.size ?? 0;
const at = (): string => join(dir, 'it.tar');
const got = (open: Download['open'], more: Partial<Download> = {}): Promise<number> =>
  download({ open, to: at(), mark: 'm', ...more });

describe('a download', () => {
  it('that is cut goes on behind what has arrived, of the same file', async () => {
    expect(await got(answering({ text: '0123', cut: true }, { text: '456789' }))).toBe(10);
    expect(readFileSync(at())).toEqual(bytes);
    expect(asked).toEqual([
      [0, null],
      [4, '"a"'],
    ]);
    expect(readdirSync(dir)).toEqual(['it.tar']);
  });

  it('of what has changed meanwhile begins anew', async () => {
    await got(answering({ text: 'abcd', cut: true }, { from: 0, tag: '"b"', text: '0123456789' }));
    expect(readFileSync(at())).toEqual(bytes);
  });

  it('that is refused, or fails its check, leaves nothing, and is not tried again', async () => {
    const problem = { type: 'about:blank', title: 'Gone', status: 409, code: 'stateConflict', detail: 'x' };
    const refused = answering({ text: '01', cut: true }, new ProblemError(problem as never));
    await expect(got(refused)).rejects.toBeInstanceOf(ProblemError);
    const check = (file: string): Promise<void> => Promise.reject(new Error(readFileSync(file, 'utf8')));
    await expect(got(answering({ text: '0123456789' }), { check })).rejects.toThrow('0123456789');
    expect(readdirSync(dir)).toEqual([]);
    expect(asked).toHaveLength(3);
  });

  it('never goes over a file that is there, or to where nothing can be written', async () => {
    writeFileSync(at(), 'mine');
    await expect(got(answering())).rejects.toThrow('is there already');
    expect(readFileSync(at(), 'utf8')).toBe('mine');
    const nowhere = { to: join(dir, 'none/it.tar') };
    await expect(got(answering({ text: '0123456789' }), nowhere)).rejects.toThrow('cannot write');
  });
});
