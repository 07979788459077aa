import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { BootFilesStore } from './boot-files.js';

let root: string;
let source: string;
let dir: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'berth-boot-files-'));
  [source, dir] = [join(root, 'built'), join(root, 'kept')];
  mkdirSync(source);
  build('first');
});
afterEach(() => {
  rmSync(root, { recursive: true });
});

/** As tools/microvm/build leaves it. */
function build(key: string, kernel = `kernel of ${key}`): void {
  const files = { kernel, initrd: 'initrd', 'root.ext4': 'empty', abilities: 'secrets\n', key: `${key}\n` };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(source, name), content);
}

/** What a new agent boots, and what lies there of each build. */
const kernelNow = async (): Promise<string> => {
  const { kernel, initrd, blank } = await new BootFilesStore(source, dir).ensure();
  expect([initrd, blank].map((path) => readFileSync(path, 'utf8'))).toEqual(['initrd', 'empty']);
  return readFileSync(kernel, 'utf8');
};

it('has the files of the build that is there, also after another one and back', async () => {
  expect(await kernelNow()).toBe('kernel of first');
  build('second');
  expect(await kernelNow()).toBe('kernel of second');
  build('first');
  expect(await kernelNow()).toBe('kernel of first');
});

it('does not read a build again that an agent took before', async () => {
  await kernelNow();
  writeFileSync(join(source, 'kernel'), 'whoever reads it finds this');
  expect(await kernelNow()).toBe('kernel of first');
});

it('takes again what went, and whatever stands where it wrote down what it has', async () => {
  const { kernel } = await new BootFilesStore(source, dir).ensure();
  rmSync(kernel);
  expect(await kernelNow()).toBe('kernel of first');
  for (const words of ['', '{"build":', '{"build":"first\\n","names":["../x","../y","../z"]}']) {
    writeFileSync(join(dir, 'of-build.json'), words);
    expect(await kernelNow(), words).toBe('kernel of first');
  }
});

it('sweeps what a crash left and earlier kernels, and keeps what layers stand on', async () => {
  const { blank } = await new BootFilesStore(source, dir).ensure();
  build('second');
  for (const left of ['.work-0123', '.of-build.json.0123456789ab.tmp']) writeFileSync(join(dir, left), '');
  const store = new BootFilesStore(source, dir);
  await store.clean();
  const { kernel, initrd } = await store.ensure();
  expect(
    readdirSync(dir)
      .map((name) => join(dir, name))
      .sort(),
  ).toEqual([kernel, initrd, blank, join(dir, 'of-build.json')].sort());
});

it('says what to do where there is no build', async () => {
  await expect(new BootFilesStore(root, dir).ensure()).rejects.toMatchObject({
    code: 'hostFault',
    remedy: expect.stringContaining('./berth up'),
  });
});
