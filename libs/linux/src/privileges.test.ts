import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { run } from './index.js';

const here = dirname(fileURLToPath(import.meta.url));
let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'berth-test-privileges-'))));
afterEach(() => rmSync(dir, { recursive: true }));

/** Runs a script that imports this library in a process of its own: what it drops, it drops for good. */
async function inChild(script: string): Promise<unknown> {
  const bundle = buildSync({
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

test('dropped capabilities are gone from the thread and its children, and cannot come back', async () => {
  const answer = await inChild(`
    import { readFileSync } from 'node:fs';
    import { execFileSync } from 'node:child_process';
    import { dropCapabilities, mount, setNoNewPrivileges } from './index.ts';
    setNoNewPrivileges();
    dropCapabilities(['chown', 'dac_override']);
    const masks = (text) => text.match(/^(CapEff|CapPrm|CapBnd|CapAmb|NoNewPrivs):.*$/gm).map((l) => l.split('\\t')[1]);
    let refused = null;
    try {
      mount('tmpfs', ${JSON.stringify(dir)}, 'tmpfs');
    } catch (error) {
      refused = error.code;
    }
    const own = masks(readFileSync('/proc/thread-self/status', 'utf8'));
    const child = masks(execFileSync('cat', ['/proc/self/status'], { encoding: 'utf8' }));
    console.log(JSON.stringify({ refused, own, child }));
  `);
  const masks = ['0000000000000003', '0000000000000003', '0000000000000003', '0000000000000000', '1'];
  expect(answer).toEqual({ refused: 'EPERM', own: masks, child: masks });
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
