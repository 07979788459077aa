import {
  mkdtempSync,
  openSync,
  closeSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
  readdirSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openedFor, rotate } from './serial-rotation.js';

let dir: string;
let path: string;
let fd: number;
/** A writer as QEMU is one: it appends to the descriptor it has. */
const swap = (to: string): Promise<void> => {
  closeSync(fd);
  fd = openSync(to, 'a');
  return Promise.resolve();
};
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'berth-rotate-'));
  path = join(dir, '1.log');
  await openedFor(path, 0);
  fd = openSync(path, 'a');
});
afterEach(() => {
  closeSync(fd);
  rmSync(dir, { recursive: true });
});

describe('the rotation of a serial log', () => {
  it('keeps at most two files and every byte of them', async () => {
    for (let turn = 0; turn < 5; turn += 1) {
      writeSync(fd, `${turn}`.repeat(11));
      expect(await rotate(path, 0, swap, 10)).toBe(true);
      writeSync(fd, 'x');
    }
    expect(readdirSync(dir).sort()).toEqual(['1.log', '1.log.0']);
    expect(readFileSync(`${path}.0`, 'utf8')).toBe(`x${'4'.repeat(11)}`);
    expect(readFileSync(path, 'utf8')).toBe('x');
  });

  it('leaves a small log alone', async () => {
    writeSync(fd, 'small');
    expect(await rotate(path, 0, () => Promise.reject(new Error('not asked for')), 10)).toBe(false);
  });

  it('that was interrupted before or after the swap is finished', async () => {
    writeSync(fd, 'old');
    writeFileSync(`${path}.next`, '');
    expect(await rotate(path, 0, swap, 10)).toBe(true);
    writeSync(fd, 'new');
    expect(readFileSync(`${path}.0`, 'utf8')).toBe('old');
    rmSync(`${path}.0`);
    await swap(`${path}.next`);
    writeSync(fd, 'newest');
    expect(await rotate(path, 0, swap, 10)).toBe(true);
    expect([readFileSync(`${path}.0`, 'utf8'), readFileSync(path, 'utf8')]).toEqual(['new', 'newest']);
  });
});
