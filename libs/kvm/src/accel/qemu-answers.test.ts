import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { z } from 'zod';
import { QemuAnswers } from './qemu-answers.js';

let dir: string;
let path: string;
let asked: number;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-answers-'));
  path = join(dir, 'qemu-answers.json');
  asked = 0;
});
const all: QemuAnswers[] = [];
const open = (at = path): QemuAnswers => {
  const answers = new QemuAnswers(at);
  all.push(answers);
  return answers;
};
afterEach(async () => {
  for (const answers of all.splice(0)) await answers.written();
  rmSync(dir, { recursive: true });
});

const count = async (answers: QemuAnswers, question = 'count'): Promise<number> =>
  answers.once(question, z.number(), () => Promise.resolve(++asked));
const failing = (answers: QemuAnswers): Promise<number> =>
  answers.once('count', z.number(), () => Promise.reject(new Error('QEMU is away')));

it('are asked for once, by however many at once, and not by a later agent', async () => {
  const answers = open();
  expect(await Promise.all([count(answers), count(answers), count(answers)])).toEqual([1, 1, 1]);
  expect(await count(answers, 'another')).toBe(2);
  await answers.written();
  const later = open();
  expect([await count(later), await count(later, 'another')]).toEqual([1, 2]);
  expect(asked).toBe(2);
});

it('are asked for again where there was none', async () => {
  const answers = open();
  await expect(Promise.all([failing(answers), failing(answers)])).rejects.toThrow('QEMU is away');
  await expect(failing(answers)).rejects.toThrow('QEMU is away');
  expect(await count(answers)).toBe(1);
});

it.each([
  ['of another boot or QEMU', { version: 1, on: 'another', answers: { count: 7 } }],
  ['of another version', { version: 2, on: 'another', answers: { count: 7 } }],
  ['that is no JSON', null],
])('are asked for again beside a file %s', async (_, content) => {
  writeFileSync(path, content === null ? '{"version":1,' : JSON.stringify(content));
  expect(await count(open())).toBe(1);
});

it('are asked for again where what was kept is no such answer', async () => {
  const before = open();
  await before.once('count', z.string(), () => Promise.resolve('seven'));
  await before.written();
  expect(await count(open())).toBe(1);
});

it('are given where there is no file to keep them in', async () => {
  const answers = open(join(dir, 'none', 'file.json'));
  expect([await count(answers), await count(answers)]).toEqual([1, 1]);
  await answers.written();
});
