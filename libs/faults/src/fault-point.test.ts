import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FaultBench } from './testing/fault-bench.js';
import { faultPoint } from './fault-point.js';

const dir = mkdtempSync(join(tmpdir(), 'berth-faults-'));
const source = new URL('./fault-point.ts', import.meta.url).pathname;
let bench: FaultBench;

/** A process that comes by two points and says when it is past each. */
const program = join(dir, 'walk.mjs');
beforeAll(async () => {
  bench = new FaultBench(join(dir, 'points'));
  const { transform } = await import('@swc/core');
  const { readFile } = await import('node:fs/promises');
  const { code } = await transform(await readFile(source, 'utf8'), {
    jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
    module: { type: 'es6' },
  });
  writeFileSync(join(dir, 'fault-point.mjs'), code);
  writeFileSync(
    program,
    `import { faultPoint } from './fault-point.mjs';
     for (const point of ['one', 'two']) { await faultPoint(point, process.argv[2]); console.log('past ' + point); }`,
  );
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function walk(key: string, env: Readonly<Record<string, string>> = bench.env) {
  const child: ChildProcess = spawn(process.execPath, [program, key], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  child.stdout?.on('data', (chunk) => (out += String(chunk)));
  child.stderr?.on('data', (chunk) => (err += String(chunk)));
  return { child, ended: once(child, 'close'), out: () => out, err: () => err };
}
const until = async (holds: () => boolean): Promise<void> => {
  for (const end = Date.now() + 20_000; !holds(); await new Promise((r) => setTimeout(r, 5)))
    if (Date.now() > end) throw new Error('waited in vain');
};

describe('a fault point', () => {
  it('is nothing at all in a process that was started without the variable', () => {
    expect(faultPoint('one', 'a')).toBeUndefined();
  });

  it('lets everything pass that is not armed', async () => {
    const other = walk('b');
    bench.arm('one', 'a');
    await other.ended;
    bench.release('one', 'a');
    expect(other.out()).toBe('past one\npast two\n');
    expect(readdirSync(bench.dir)).toEqual([]);
  });

  it('holds who comes by for that key, says who it is, and lets go', async () => {
    bench.arm('two', 'a');
    const walker = walk('a');
    await until(() => bench.holder('two', 'a') !== null);
    expect(bench.holder('two', 'a')).toBe(walker.child.pid);
    expect(walker.out()).toBe('past one\n');
    bench.release('two', 'a');
    await walker.ended;
    expect(walker.out()).toBe('past one\npast two\n');
    expect(readdirSync(bench.dir)).toEqual([]);
  });

  it('keeps nothing back from a kill', async () => {
    bench.arm('one', 'a');
    const walker = walk('a');
    await until(() => bench.holder('one', 'a') !== null);
    walker.child.kill('SIGKILL');
    expect((await walker.ended)[1]).toBe('SIGKILL');
    bench.release('one', 'a');
    expect(walker.out()).toBe('');
  });

  it('takes no key that could name a file elsewhere', async () => {
    const walker = walk('../points/one@a');
    await walker.ended;
    expect(walker.out()).toBe('past one\npast two\n');
  });

  it('refuses to start where others could arm it', async () => {
    const open = mkdtempSync(join(dir, 'open-'));
    chmodSync(open, 0o755);
    for (const bad of [open, 'relative', join(dir, 'missing')]) {
      const walker = walk('a', { BERTH_FAULT_DIR: bad });
      expect((await walker.ended)[0]).toBe(1);
      expect(walker.err()).toContain('only the user of this process can enter');
    }
  });
});
