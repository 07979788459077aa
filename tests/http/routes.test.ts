import { readFile } from 'node:fs/promises';
import { errorCodes, Problem } from '@berth/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Api } from './api.js';
import { cases } from './cases.js';

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly 'x-berth-action': string }>>>>;
}
const document = JSON.parse(await readFile('docs/openapi.json', 'utf8')) as Document;
const routes = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, route]) => ({
    method,
    path,
    key: `${method.toUpperCase()} ${path}`,
    action: route['x-berth-action'],
  })),
);

let api: Api;
beforeAll(async () => {
  api = await Api.start();
});
afterAll(() => api.stop());

test('every route of the OpenAPI document has a good and a bad case here', () => {
  expect(Object.keys(cases).sort()).toEqual(routes.map((r) => r.key).sort());
});

describe.each(routes)('$key', ({ key }) => {
  const route = cases[key];

  test('does what it is for', async () => {
    await route?.good(api);
  });

  test('refuses what is bad with a problem document and changes nothing', async () => {
    const bad = await route?.bad(api);
    const before = await api.counts();
    const answer = await bad?.send();
    const { status, code, detail, remedy } = Problem.parse(answer?.body);
    expect(answer?.status).toBe(status);
    expect(errorCodes[code]).toBe(status);
    expect(status).toBeGreaterThanOrEqual(400);
    expect(status).toBeLessThan(500);
    // A sentence; a field's path or an action's name at its beginning is written as it is.
    expect(detail).toMatch(/^([A-Z"/]|[a-zA-Z]+\.[a-z]).*[.!?]$/s);
    expect(remedy).toBeTruthy();
    const trail =
      route?.recorded === true ? { operations: expect.any(Number), events: expect.any(Number) } : {};
    expect(await api.counts()).toEqual({ ...before, ...trail });
  });
});

const guarded = routes.filter(({ action }) => action !== 'public');

test('only these routes need no token', () => {
  const open = routes.filter((route) => !guarded.includes(route)).map(({ key }) => key);
  expect(open.sort()).toEqual([
    'GET /healthz',
    'GET /readyz',
    'GET /v1/console',
    'GET /v1/openapi.json',
    'POST /v1/session',
  ]);
});

describe.each(guarded)('$key', ({ method, path }) => {
  test('refuses a request without a token', async () => {
    const address = path.replace('{project}', 'alpha').replaceAll(/\{\w+\}/g, 'nowhere');
    const { status, body, headers } = await api.http[method as 'get'](address);
    expect({ status, code: body.code }).toEqual({ status: 401, code: 'unauthenticated' });
    expect(headers['www-authenticate']).toBe('Bearer');
    expect(Problem.parse(body).remedy).toBeTruthy();
  });
});

describe.each(routes.filter(({ path }) => path.includes('{project}')))('$key', ({ method, path }) => {
  test('a foreign project is, byte for byte, one that does not exist', async () => {
    const trace = `00-${'c'.repeat(32)}-${'d'.repeat(16)}-01`;
    const ask = async (project: string): Promise<{ status: number; text: string }> => {
      const url = path.replace('{project}', project).replaceAll(/\{\w+\}/g, 'oci');
      const { status, text } = await api.call(method as 'get', url, 'alpha:admin').set('traceparent', trace);
      return { status, text: text.replaceAll(project, '<project>') };
    };
    const foreign = await ask('beta');
    expect(foreign.status).toBe(404);
    expect(foreign).toEqual(await ask('nowhere'));
  });
});
