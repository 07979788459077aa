import { readFile } from 'node:fs/promises';
import openapiTS, { astToString, COMMENT_HEADER } from 'openapi-typescript';
import { format } from 'prettier';
import { expect, test } from 'vitest';
import { controllers } from '../../apps/api/src/http/controllers.js';
import { routesOf } from '../../apps/api/src/http/routes.js';
import { openApiDocument } from '../../apps/api/src/openapi/document.js';

test('docs/openapi.json is the document that the API serves', async () => {
  const committed = await readFile('docs/openapi.json', 'utf8');
  const made = JSON.stringify(openApiDocument(routesOf(controllers)));
  expect(JSON.stringify(JSON.parse(committed)) === made, 'run tools/openapi and commit what it writes').toBe(
    true,
  );
});

test('the types of the client are made from that document', async () => {
  const document = new URL('../../docs/openapi.json', import.meta.url);
  const made = astToString(await openapiTS(document, { alphabetize: true, defaultNonNullable: false }));
  const committed = await readFile('libs/client/src/schema.gen.ts', 'utf8');
  const same = (await formatted(COMMENT_HEADER + made)) === (await formatted(committed));
  expect(same, 'run tools/openapi and commit what it writes').toBe(true);
});

async function formatted(text: string): Promise<string> {
  return format(text, { parser: 'typescript' });
}
