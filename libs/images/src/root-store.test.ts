import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mounts, run } from '@berth/linux';
import type { Digest } from '@berth/model';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LayerRef } from './layer-store.js';
import { RootStore } from './root-store.js';

let dir: string;
let asked: string[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-roots-'));
  asked = [];
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const digest = (n: number): Digest => `sha256:${String(n).repeat(64)}` as Digest;
const layerOf = (name: string): LayerRef => ({
  digest: name as Digest,
  diffId: name as Digest,
  mediaType: '',
});

function layer(name: string, files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(dir, name, path, '..'), { recursive: true });
    writeFileSync(join(dir, name, path), text, { mode: 0o600 });
  }
}

function store(): RootStore {
  return new RootStore(join(dir, 'roots'), {
    ensure: ({ digest: name }) => {
      asked.push(name);
      return Promise.resolve(join(dir, name));
    },
  });
}

const listed = async (path: string): Promise<string> => (await run('unsquashfs', ['-lln', path])).stdout;

describe('roots of images', () => {
  it('hold the merged layers with their owners, though nobody else may read them there', async () => {
    layer('lower', { 'etc/a': 'lower', 'etc/gone': 'x', 'srv/own': 'mine' });
    chownSync(join(dir, 'lower/srv/own'), 1000, 100);
    layer('upper', { 'etc/a': 'upper!' });
    await run('mknod', [join(dir, 'upper/etc/gone'), 'c', '0', '0']);
    const path = await store().ensure({ digest: digest(1), layers: ['lower', 'upper'].map(layerOf) });
    const list = await listed(path);
    expect(list).toMatch(/^-rw------- 1000\/100 +4 .*\/srv\/own$/m);
    expect(list).toMatch(/^-rw------- 0\/0 +6 .*\/etc\/a$/m);
    expect(list).not.toContain('gone');
    expect(statSync(path).mode & 0o777).toBe(0o444);
    expect(mounts().filter(({ target }) => target.startsWith(dir))).toEqual([]);
    expect(readdirSync(join(dir, 'roots'))).toHaveLength(1);
  });

  it('are made once, by however many at once, and collected when nobody uses them', async () => {
    layer('one', { a: 'x' });
    const roots = store();
    const image = { digest: digest(2), layers: [layerOf('one')] };
    const paths = await Promise.all([roots.ensure(image), roots.ensure(image)]);
    await roots.ensure(image);
    expect(asked).toEqual(['one']);
    await roots.collect([image.digest], () => Promise.resolve(new Set([image.digest])));
    expect(existsSync(paths[0])).toBe(true);
    await roots.collect([image.digest], async () => {
      await roots.ensure(image);
      return new Set();
    });
    expect(existsSync(paths[0])).toBe(true);
    await roots.collect([image.digest], () => Promise.resolve(new Set()));
    expect(existsSync(paths[0])).toBe(false);
  });

  it('leave nothing when they cannot be made, and what a kill left is swept', async () => {
    const roots = store();
    await expect(roots.ensure({ digest: digest(3), layers: [layerOf('absent')] })).rejects.toMatchObject({
      code: 'hostFault',
    });
    await expect(roots.ensure({ digest: digest(4), layers: [] })).rejects.toMatchObject({
      code: 'badArchive',
    });
    expect(readdirSync(join(dir, 'roots'))).toEqual([]);
    const tree = join(dir, 'roots/.work-0123/tree');
    mkdirSync(tree, { recursive: true });
    await run('mount', ['-t', 'tmpfs', 'berth-test', tree]);
    await store().clean();
    expect(readdirSync(join(dir, 'roots'))).toEqual([]);
  });
});
