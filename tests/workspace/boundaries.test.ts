import { ESLint, type Linter } from 'eslint';
import { readdirSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
// @ts-expect-error a plain script without types
import { importCycles as findCycles } from '../../tools/boundaries/cycles.mjs';

const importCycles = findCycles as (root: string, files: readonly string[]) => Promise<string[][]>;

const root = fileURLToPath(new URL('../..', import.meta.url));
const eslint = new ESLint({ cwd: root });

/** What the workspace's lint says of a text, were it this file. */
async function lintAs(path: string, text: string): Promise<Linter.LintMessage[]> {
  const [result] = await eslint.lintText(text, { filePath: join(root, path) });
  return result!.messages.filter((m) => m.severity === 2);
}
const rulesHit = async (path: string, text: string): Promise<(string | null)[]> => [
  ...new Set((await lintAs(path, text)).map((m) => m.ruleId)),
];

describe('the arrows between rooms', () => {
  it.each([
    ['libs/model/src/planted.ts', '@berth/linux'],
    ['libs/scheduler/src/planted.ts', '@berth/link'],
    ['libs/kvm/src/planted.ts', '@berth/containers'],
    ['libs/containers/src/planted.ts', '@berth/kvm'],
    ['apps/cli/src/planted.ts', '@berth/linux'],
    ['apps/agent/src/planted.ts', '@berth/scheduler'],
    ['apps/api/src/http/planted.ts', '@berth/runtime'],
  ])('refuse that %s imports %s', async (path, imported) => {
    const messages = await lintAs(path, `import * as x from '${imported}';\nexport const y = x;\n`);
    expect(messages.map((m) => m.ruleId)).toEqual(['@nx/enforce-module-boundaries']);
  });
  it.each([
    ['libs/kvm/src/planted.ts', '@berth/runtime'],
    ['apps/agent/src/planted.ts', '@berth/kvm'],
    ['apps/api/src/scheduling/planted.ts', '@berth/scheduler'],
    ['apps/cli/src/planted.ts', '@berth/model'],
  ])('allow that %s imports %s', async (path, imported) => {
    expect(await lintAs(path, `import * as x from '${imported}';\nexport const y = x;\n`)).toEqual([]);
  });
  it('refuse to reach into another package, by its name or by a path', async () => {
    const deep = `import { x } from '@berth/model/src/state.js';\nexport const y = x;\n`;
    const path = `import { x } from '../../../libs/model/src/state.js';\nexport const y = x;\n`;
    expect(await rulesHit('apps/cli/src/planted.ts', deep)).toContain('no-restricted-imports');
    expect(await rulesHit('apps/cli/src/planted.ts', path)).toContain('no-restricted-imports');
  });
});

describe('import cycles', () => {
  const dir = join(root, 'tests/workspace', `planted-${process.pid}`);
  beforeAll(async () => {
    await mkdir(dir);
    const imports = { one: 'two', two: 'three', three: 'one', four: 'one' };
    for (const [name, other] of Object.entries(imports))
      await writeFile(
        join(dir, `${name}.ts`),
        `import { ${other} } from './${other}.js';\nexport const ${name} = (): unknown => ${other};\n`,
      );
    // Gone when it runs.
    await writeFile(
      join(dir, 'type.ts'),
      `import type { four } from './four.js';\nexport type Type = typeof four;\n`,
    );
    await writeFile(
      join(dir, 'four.ts'),
      `import type { Type } from './type.js';\nimport { one } from './one.js';\nexport const four = (): Type => one as Type;\n`,
    );
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));
  it('are found', async () => {
    const planted = ['one', 'two', 'three', 'four', 'type'].map((name) => join(dir, `${name}.ts`));
    const wanted = ['one', 'three', 'two'].map((name) => relative(root, join(dir, `${name}.ts`)));
    expect(await importCycles(root, planted)).toEqual([wanted]);
  });
  it('are nowhere', async () => {
    const sources = ['apps', 'libs', 'migrations', 'tests'].flatMap((room) =>
      readdirSync(join(root, room), { recursive: true, encoding: 'utf8' })
        .filter(
          (path) => /\.tsx?$/.test(path) && !/(^|\/)(dist|node_modules|planted-\d+)\/|\.d\.ts$/.test(path),
        )
        .map((path) => join(room, path)),
    );
    expect(sources.length).toBeGreaterThan(1000);
    expect(await importCycles(root, sources)).toEqual([]);
  });
});

describe('the cores of api and agent', () => {
  it.each([
    ['Date.now', 'export const t = Date.now();'],
    ['new Date()', 'export const t = new Date();'],
    ['Math.random', 'export const t = Math.random();'],
    ['setTimeout', 'setTimeout(() => undefined, 1);'],
    ['setInterval', 'setInterval(() => undefined, 1);'],
    ['setImmediate', 'setImmediate(() => undefined);'],
    ['randomUUID', `import { randomUUID } from 'node:crypto';\nexport const t = randomUUID();`],
    ['crypto.randomUUID', 'export const t = crypto.randomUUID();'],
    ['timers/promises', `import { setTimeout as s } from 'node:timers/promises';\nexport const t = s;`],
  ])('may not reach for %s', async (_name, text) => {
    for (const core of [
      'apps/api/src/instances/planted.ts',
      'apps/agent/src/planted.ts',
      'apps/api/src/store/planted.ts',
    ])
      expect((await rulesHit(core, `${text}\n`)).join()).toMatch(/no-restricted/);
    expect(await lintAs('libs/linux/src/planted.ts', `${text}\n`)).toEqual([]);
  });
  it('may make a date of a given time', async () => {
    expect(
      await lintAs('apps/api/src/instances/planted.ts', 'export const d = (t: number) => new Date(t);\n'),
    ).toEqual([]);
  });
});

describe('everywhere', () => {
  it('a shell is refused', async () => {
    const text = `import { spawn } from 'node:child_process';\nspawn('ls', { shell: true });\n`;
    expect(await rulesHit('libs/linux/src/planted.ts', text)).toEqual(['no-restricted-syntax']);
    const exec = `import { exec } from 'node:child_process';\nexec('ls');\n`;
    expect(await rulesHit('apps/agent/src/planted.ts', exec)).toEqual(['no-restricted-syntax']);
  });
  it('only the store speaks to the database', async () => {
    for (const name of ['typeorm', 'pg']) {
      const text = `import * as x from '${name}';\nexport const y = x;\n`;
      expect(await rulesHit('apps/api/src/instances/planted.ts', text)).toContain('no-restricted-imports');
      expect(await rulesHit('libs/images/src/planted.ts', text)).toContain('no-restricted-imports');
      expect(await rulesHit('apps/api/src/store/planted.ts', text)).not.toContain('no-restricted-imports');
    }
  });
});
