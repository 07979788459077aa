import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, stop } from 'esbuild';
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest';
import { run } from './index.js';

const here = dirname(fileURLToPath(import.meta.url));
let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'berth-test-privileges-'))));
afterEach(() => rmSync(dir, { recursive: true }));
afterAll(() => stop());

/** Runs a script that imports this library in a process of its own: what it drops, it drops for good. */
async function inChild(script: string): Promise<unknown> {
  const bundle = await build({
    stdin: { contents: script, resolveDir: here, loader: 'ts' },
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    write: false,
  });
  const code = bundle.outputFiles[0]?.text ?? '';
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code], { cwd: here });
  return JSON.parse(stdout);
}

test('a process that becomes a user keeps what it asked for in this thread, and nothing in any other', async () => {
  const answer = await inChild(`
    import { readFileSync, readdirSync } from 'node:fs';
    import { readFile } from 'node:fs/promises';
    import { becomeUser, mount } from './index.ts';
    await readFile('/proc/self/stat'); // libuv's threads are there
    becomeUser(251658240 - 7, ['chown', 'dac_override']);
    let refused = null;
    try {
      mount('tmpfs', ${JSON.stringify(dir)}, 'tmpfs');
    } catch (error) {
      refused = error.code;
    }
    const tasks = readdirSync('/proc/self/task').map((task) => readFileSync('/proc/self/task/' + task + '/status', 'utf8'));
    const [main, ...others] = tasks.map((text) => text.match(/^(Uid|CapEff|CapPrm):.*$/gm).map((l) => l.split('\\t')[1]));
    console.log(JSON.stringify({ refused, main, others }));
  `);
  const { refused, main, others } = answer as { refused: string; main: string[]; others: string[][] };
  expect({ refused, main }).toEqual({
    refused: 'EPERM',
    main: ['251658233', '0000000000000003', '0000000000000003'],
  });
  expect(others.length).toBeGreaterThan(4);
  for (const other of others) expect(other).toEqual(['251658233', '0000000000000000', '0000000000000000']);
});

test('after chroot nothing outside can be named, from any thread', async () => {
  writeFileSync(join(dir, 'inside'), 'here');
  const answer = await inChild(`
    import { readdirSync } from 'node:fs';
    import { readdir } from 'node:fs/promises';
    import { chroot } from './index.ts';
    chroot(${JSON.stringify(dir)});
    console.log(JSON.stringify([readdirSync('/'), readdirSync('/..'), await readdir('.'), await readdir('../..')]));
  `);
  expect(answer).toEqual([['inside'], ['inside'], ['inside'], ['inside']]);
});
