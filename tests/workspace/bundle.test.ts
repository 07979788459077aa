import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { SourceMap } from 'node:module';
import type { SourceMapPayload, SourceMapping } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

interface SourceLinesModule {
  readonly SourceLines: new (map: SourceMapPayload) => {
    find(row: number, column: number): { source: string; line: number; column: number } | null;
  };
}

const run = promisify(execFile);
const bundler = new URL('../../tools/bundle/bundle.mjs', import.meta.url).href;
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'berth-bundle-'));
  await writeFile(join(dir, 'package.json'), '{ "type": "module" }');
  await writeFile(
    join(dir, 'source.ts'),
    [
      "import { existsSync } from 'node:fs';",
      'interface Asked { readonly word: string }',
      '',
      'class Named {}',
      'function fails({ word }: Asked): never {',
      '  throw new TypeError(`it fails at ${word}`);',
      '}',
      "const beside = existsSync(new URL('source.ts', import.meta.url));",
      "if (process.argv[2] === 'fail') fails({ word: 'once' });",
      "void import('node:path').then(({ sep }) =>",
      '  console.log(JSON.stringify([Named.name, beside, sep, process.argv.slice(2)])),',
      ');',
    ].join('\n'),
  );
  const script = `const { bundle } = await import('${bundler}'); await bundle(JSON.parse(process.argv[1]));`;
  const o = { entry: join(dir, 'source.ts'), dist: dir, idle: ['idle'] };
  await run(process.execPath, ['--input-type=module', '-e', script, JSON.stringify(o)]);
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const program = (...args: string[]) => run(process.execPath, [join(dir, 'main.js'), ...args]);
/** Whether V8 took the code that was kept. */
const taken = async (): Promise<string> => {
  const script = `const { program } = await import(process.argv[1]); process.stdout.write(String(program({ cached: true }).script.cachedDataRejected));`;
  return (await run(process.execPath, ['--input-type=module', '-e', script, join(dir, 'load.js')])).stdout;
};

describe('a program of one file', () => {
  it('does what its sources do, finds what is beside them, and gets its arguments', async () => {
    const { stdout } = await program('one', 'two');
    expect(JSON.parse(stdout)).toEqual(['Named', true, '/', ['one', 'two']]);
  });

  it('names the lines of its sources where it fails', async () => {
    const failed = await program('fail').catch((error: { stderr: string }) => error);
    expect(failed.stderr).toContain(`TypeError: it fails at once`);
    expect(failed.stderr).toContain(`at fails (${join(dir, 'source.ts')}:6:9)`);
    expect(failed.stderr).toContain(`${join(dir, 'source.ts')}:9:`);
  });

  it('finds each position where Node finds it', async () => {
    const map = JSON.parse(await readFile(join(dir, 'program.cjs.map'), 'utf8')) as SourceMapPayload;
    const { SourceLines } = (await import(join(dir, 'source-lines.js'))) as SourceLinesModule;
    const ours = new SourceLines(map);
    const nodes = new SourceMap(map);
    const lines = (await readFile(join(dir, 'program.cjs'), 'latin1')).split('\n');
    let found = 0;
    for (const [row, text] of lines.entries())
      for (let column = 0; column <= text.length; column++) {
        const here = ours.find(row, column);
        const there = nodes.findEntry(row, column) as Partial<SourceMapping>;
        // Node goes on with the line before where this one has nothing of its sources.
        if (here === null) expect(there.generatedLine).not.toBe(row);
        else {
          const { originalSource: source, originalLine: line, originalColumn: col } = there;
          expect(here).toEqual({ source, line, column: col });
          found += 1;
        }
      }
    expect(found).toBeGreaterThan(200);
    expect(ours.find(lines.length, 0)).toBeNull();
  });

  it('names them also where it was moved to after it was built', async () => {
    const moved = `${dir}-moved`;
    await rename(dir, moved);
    const failed = await run(process.execPath, [join(moved, 'main.js'), 'fail']).catch(
      (error: { stderr: string }) => error,
    );
    await rename(moved, dir);
    expect(failed.stderr).toContain(`at fails (${join(moved, 'source.ts')}:6:9)`);
  });

  it('starts from the code that was kept, and without it where it is not of this program', async () => {
    expect(await taken()).toBe('false');
    await writeFile(join(dir, 'program.cache'), 'something else');
    expect(await taken()).toBe('true');
    expect((await program('again')).stdout).toContain('again');
  });
});
