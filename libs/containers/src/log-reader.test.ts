import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { logRead } from './log-reader.js';

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-log-'));
  path = join(dir, 'log');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const frame = (n: number): string => `2026-01-02T03:04:05.678901234+00:00 stdout F line ${n}\n`;
const lines = (to: number): string => Array.from({ length: to }, (_, n) => `line ${n}\n`).join('');

/** Writes as conmon does: to the file, or to a new one that takes its place. */
function print(n: number, anew: boolean): void {
  if (!anew) return appendFileSync(path, frame(n));
  writeFileSync(`${path}.tmp`, frame(n));
  renameSync(`${path}.tmp`, path);
}

it('a follower that is slow reads every line of the files that were replaced meanwhile, once', async () => {
  const leave = AbortSignal.timeout(20_000);
  writeFileSync(path, frame(0));
  const log = logRead(path, { follow: true }, leave);
  let [read, printed] = ['', 1];
  const more = async (): Promise<void> => {
    const { value } = await log.next();
    read += Buffer.from(value ?? []).toString();
  };
  await more();
  for (let round = 0; round < 5; round++) {
    // Lines behind what was read, then three files, of which the reader sees only that they were there.
    for (let n = 0; n < 30; n++) {
      print(printed++, n % 10 === 9);
      await new Promise((resolve) => setImmediate(resolve)); // its process goes on, its reader does not
    }
    while (!read.endsWith(`line ${printed - 1}\n`)) {
      expect(leave.aborted, read.slice(-100)).toBe(false);
      await more();
    }
  }
  await log.return(undefined);
  expect(read).toBe(lines(printed));
});

it('what was written between a read and the replacement is not lost', async () => {
  const leave = AbortSignal.timeout(20_000);
  writeFileSync(path, frame(0));
  const log = logRead(path, { follow: true }, leave);
  let read = Buffer.from((await log.next()).value ?? []).toString();
  print(1, false);
  print(2, true);
  while (!read.endsWith('line 2\n') && !leave.aborted)
    read += Buffer.from((await log.next()).value ?? []).toString();
  await log.return(undefined);
  expect(read).toBe(lines(3));
});

it('gives frames as they are where they are wanted, and nothing of what is not there', async () => {
  const all = async (): Promise<string> => {
    const chunks: Uint8Array[] = [];
    for await (const c of logRead(path, { follow: false, framed: true }, AbortSignal.timeout(5000)))
      chunks.push(c);
    return Buffer.concat(chunks).toString();
  };
  expect(await all()).toBe('');
  writeFileSync(path, frame(0) + frame(1));
  expect(await all()).toBe(frame(0) + frame(1));
});
