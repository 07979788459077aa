import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { copyVariables, ensureVariables } from './firmware-files.js';

let dir: string;
const at = (...path: string[]): string => join(dir, ...path);
const ensure = (): Promise<string> => ensureVariables(at('firmware'), 'uefi.fd', at('template'));
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-vars-'));
  writeFileSync(at('template'), 'fresh');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

it('variables begin as the template, and are kept whatever becomes of that', async () => {
  const path = await ensure();
  expect([readFileSync(path, 'utf8'), statSync(path).mode & 0o777]).toEqual(['fresh', 0o600]);
  expect(statSync(at('firmware')).mode & 0o777).toBe(0o711);
  writeFileSync(path, 'set by a guest');
  rmSync(at('template'));
  expect(readFileSync(await ensure(), 'utf8')).toBe('set by a guest');
  rmSync(at('firmware'), { recursive: true });
  await expect(ensure()).rejects.toMatchObject({ code: 'hostFault' });
  expect(readdirSync(at('firmware'))).toEqual([]);
});

it('a copy takes the place of what there was; of nothing it is nothing', async () => {
  await ensure();
  await copyVariables(at('firmware'), at('kept'));
  writeFileSync(at('firmware', 'uefi.fd'), 'later');
  writeFileSync(at('firmware', 'secureBoot.fd'), 'later');
  await copyVariables(at('kept'), at('firmware'));
  expect(readdirSync(at('firmware'))).toEqual(['uefi.fd']);
  expect(readFileSync(at('firmware', 'uefi.fd'), 'utf8')).toBe('fresh');
  await copyVariables(at('nothing'), at('firmware'));
  expect(readdirSync(dir).sort()).toEqual(['kept', 'template']);
});

it('neither a link nor a file that no firmware made is read', async () => {
  const path = await ensure();
  await copyVariables(at('firmware'), at('kept'));
  truncateSync(path, 2 ** 30);
  await expect(copyVariables(at('firmware'), at('kept'))).rejects.toMatchObject({ code: 'hostFault' });
  rmSync(path);
  symlinkSync('/etc/shadow', path);
  await expect(copyVariables(at('firmware'), at('kept'))).rejects.toMatchObject({ code: 'hostFault' });
  expect(readFileSync(at('kept', 'uefi.fd'), 'utf8')).toBe('fresh');
  expect(readdirSync(dir).sort()).toEqual(['firmware', 'kept', 'template']);
});

it('a copy is what the file held at one moment, also while it is written', async () => {
  // Of two places, the one that a reading comes to first is written first. A copy that has only the second write is torn.
  const size = 4 * 2 ** 20;
  const path = await ensure();
  truncateSync(path, size);
  const file = await open(path, 'r+');
  let written = 0;
  let stop = false;
  const writing = (async () => {
    while (!stop) {
      written += 1;
      const word = Buffer.alloc(4);
      word.writeUInt32LE(written);
      await file.write(word, 0, 4, 0);
      await file.write(word, 0, 4, size - 4);
      await new Promise((resolve) => setTimeout(resolve, 1));
      // A guest pauses; without a pause there is no moment to be found.
      if (written % 8 === 0) await new Promise((resolve) => setTimeout(resolve, 60));
    }
  })();
  for (let n = 0; n < 10; n += 1) {
    await copyVariables(at('firmware'), at('kept'));
    const copy = readFileSync(at('kept', 'uefi.fd'));
    const [front, back] = [copy.readUInt32LE(0), copy.readUInt32LE(size - 4)];
    // Front first: the front is at most one write ahead, and never behind.
    expect([0, 1]).toContain(front - back);
  }
  stop = true;
  await writing;
  await file.close();
  expect(written).toBeGreaterThan(8);
});
