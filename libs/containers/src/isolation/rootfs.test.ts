import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mounts, run } from '@berth/linux';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { scratchClear } from './rootfs.js';

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'berth-rootfs-'))));
afterEach(() => rmSync(dir, { recursive: true }));

it('layers that a killed process left mounted are unmounted, however often, and keep their files', async () => {
  const [layer, scratch] = [join(dir, 'layer'), join(dir, 'scratch')];
  mkdirSync(layer);
  writeFileSync(join(layer, 'file'), 'of the layer');
  for (const name of ['0', '1']) mkdirSync(join(scratch, name), { recursive: true });
  for (const name of ['0', '0', '1']) await run('mount', ['--bind', layer, join(scratch, name)]);
  scratchClear(scratch);
  expect(mounts().filter(({ target }) => target.startsWith(dir))).toEqual([]);
  expect(existsSync(scratch)).toBe(false);
  expect(readFileSync(join(layer, 'file'), 'utf8')).toBe('of the layer');
  scratchClear(scratch);
});
