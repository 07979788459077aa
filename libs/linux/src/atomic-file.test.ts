import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { temporariesRemove, writeFileAtomic } from './atomic-file.js';

const dir = mkdtempSync(join(tmpdir(), 'berth-atomic-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

it('writes a whole file with its mode, and leaves nothing beside it', async () => {
  const path = join(dir, 'whole');
  for (const text of ['one', 'two']) await writeFileAtomic(path, text, { mode: 0o640 });
  expect(readFileSync(path, 'utf8')).toBe('two');
  expect(statSync(path).mode & 0o777).toBe(0o640);
  expect(readdirSync(dir)).toEqual(['whole']);
});

it('sweeps what a killed writer left, in every directory below, and nothing else', async () => {
  const below = join(dir, 'a/b');
  mkdirSync(below, { recursive: true });
  const kept = ['record.json', '.hidden', 'x.0123456789ab.tmp', '.x.0123.tmp'];
  for (const name of kept) writeFileSync(join(below, name), '');
  for (const at of [dir, below]) writeFileSync(join(at, '.record.json.0123456789ab.tmp'), '');
  await temporariesRemove(dir);
  expect(readdirSync(below).sort()).toEqual([...kept].sort());
  expect(readdirSync(dir).sort()).toEqual(['a', 'whole']);
  await temporariesRemove(join(dir, 'missing'));
});
