import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { resolveConfig } from 'prettier';
import { beforeAll, expect, it } from 'vitest';
// @ts-expect-error a plain script without types
import { introspect } from '../../tools/qmp-schema/introspect.mjs';
// @ts-expect-error a plain script without types
import { used } from '../../tools/qmp-schema/names.mjs';
// @ts-expect-error a plain script without types
import { missing, typesText } from '../../tools/qmp-schema/types.mjs';
import { qmpSchemaVersion } from '../../libs/kvm/src/qmp/schema.gen.js';

interface Answer {
  readonly version: string;
  readonly schema: readonly {
    readonly name: string;
    readonly members?: readonly { readonly name: string }[];
  }[];
}
const sources = join(import.meta.dirname, '../../libs/kvm/src');
const generated = join(sources, 'qmp/schema.gen.ts');
let answer: Answer;
beforeAll(async () => {
  answer = (await introspect()) as Answer;
});

it('the types are what the QEMU they were made from says of itself; else run tools/qmp-schema/write.mjs', async () => {
  if (answer.version !== qmpSchemaVersion) return;
  const text = (await typesText(answer, await resolveConfig(generated))) as string;
  expect(readFileSync(generated, 'utf8')).toBe(text);
});

it('whatever QEMU is installed has every command in use, with the members we send', () => {
  expect(missing(answer)).toEqual([]);
});

it('a QEMU without one of them is found out', () => {
  const schema = answer.schema.filter(({ name }) => name !== 'query-uuid');
  expect(missing({ schema })).toEqual(['query-uuid']);
  const renamed = JSON.parse(JSON.stringify(answer.schema).replaceAll('"backend"', '"other"')) as unknown;
  expect(missing({ schema: renamed })).toEqual(['chardev-add.backend', 'chardev-change.backend']);
});

it('every command that the sources send is among those in use', () => {
  const sent = readdirSync(sources, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
    .flatMap((name) => [
      ...readFileSync(join(sources, name), 'utf8').matchAll(/\.(?:execute|raw)\(\s*'([a-z_-]+)'/g),
    ])
    .map((found) => found[1] ?? '');
  expect(sent).toContain('query-status');
  expect([...new Set(sent)].filter((name) => !Object.keys(used as object).includes(name))).toEqual([]);
});
