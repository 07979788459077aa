import { ESLint, type Linter } from 'eslint';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

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
  // The rule reads the files an import leads to, so these two must be on disk.
  const dir = join(root, 'tests/workspace', `planted-${process.pid}`);
  beforeAll(async () => {
    await mkdir(dir);
    await writeFile(
      join(dir, 'one.ts'),
      `import { two } from './two.js';\nexport const one = (): unknown => two;\n`,
    );
    await writeFile(
      join(dir, 'two.ts'),
      `import { one } from './one.js';\nexport const two = (): unknown => one;\n`,
    );
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));
  it('are refused between files', async () => {
    const results = await new ESLint({ cwd: root }).lintFiles([join(dir, '*.ts')]);
    const cycles = results.flatMap((r) => r.messages).filter((m) => m.ruleId === 'import-x/no-cycle');
    expect(cycles).toHaveLength(2);
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
