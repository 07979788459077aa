import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { controllers } from '../../apps/api/src/http/controllers.js';
import { routesOf } from '../../apps/api/src/http/routes.js';
import { openApiDocument } from '../../apps/api/src/openapi/document.js';

test('docs/openapi.json is the document that the API serves', async () => {
  const committed = await readFile('docs/openapi.json', 'utf8');
  expect(JSON.stringify(JSON.parse(committed))).toBe(JSON.stringify(openApiDocument(routesOf(controllers))));
});
