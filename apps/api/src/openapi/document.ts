import { errorCodes, Problem } from '@berth/model';
import { z } from 'zod';
import { csrfHeader } from '../access/browser.js';
import type { Route } from '../http/routes.js';
import type { Answer } from '../http/action.js';
import { SchemaBook } from './schemas.js';

type Json = Record<string, unknown>;

/**
 * OpenAPI 3.1 of the routes, made from what their decorators declare: the schemas that validate are the ones that are
 * printed. Same routes, same text.
 */
export function openApiDocument(routes: readonly Route[]): Json {
  const book = new SchemaBook();
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    const path = route.path.replaceAll(/:([A-Za-z]+)/g, '{$1}');
    (paths[path] ??= {})[route.method.toLowerCase()] = operationOf(route, book);
  }
  const problem = book.ref(Problem, 'output');
  return {
    openapi: '3.1.0',
    info: {
      title: 'Berth',
      version: 'v1',
      description:
        'Virtual machines and containers over many hosts. Errors are problem documents (RFC 9457).',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    security: [{ bearer: [] }, { session: [] }],
    paths,
    components: {
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer' },
        session: {
          type: 'apiKey',
          in: 'cookie',
          name: 'berth_session',
          description: `Of browsers, by POST /v1/session; mutations also send ${csrfHeader}`,
        },
      },
      responses: {
        Problem: {
          description: `What went wrong and what to do; code is one of ${Object.keys(errorCodes).join(', ')}`,
          content: { 'application/problem+json': { schema: problem } },
        },
      },
      schemas: book.components(),
    },
  };
}

function operationOf(route: Route, book: SchemaBook): Json {
  const { doc } = route;
  const success = Object.fromEntries(
    Object.entries(doc.answers).map(([status, answer]) => [status, answerOf(answer, book)]),
  );
  return {
    operationId: operationId(route),
    summary: doc.summary,
    tags: [route.name.split('.')[0]?.replace(/Controller$/, '')],
    'x-berth-action': route.action,
    ...(route.action === 'public' ? { security: [] } : {}),
    parameters: parametersOf(route, book),
    ...bodyOf(route, book),
    responses: { ...success, default: { $ref: '#/components/responses/Problem' } },
  };
}

function operationId(route: Route): string {
  const [controller = '', handler = ''] = route.name.split('.');
  const noun = controller.replace(/Controller$/, '');
  return noun.charAt(0).toLowerCase() + noun.slice(1) + handler.charAt(0).toUpperCase() + handler.slice(1);
}

function parametersOf(route: Route, book: SchemaBook): Json[] {
  const text = { type: 'string' };
  const path = route.params.map((name) => ({ name, in: 'path', required: true, schema: text }));
  const query = Object.entries(route.query?.shape ?? {}).map(([name, field]) => {
    const schema = field as z.ZodType;
    const { description, ...shown } = book.ref(schema, 'output');
    return {
      name,
      in: 'query',
      required: !schema.safeParse(undefined).success,
      ...(description === undefined ? {} : { description }),
      schema: shown,
    };
  });
  const headers: Record<string, string> = {
    ...(route.method === 'POST' && route.action !== 'public' && doc(route).readOnly !== true
      ? {
          'idempotency-key':
            'One object and one answer, which is kept for a day, however often the request is repeated under this key; 422 with another body',
        }
      : {}),
    ...(doc(route).ifMatch === true
      ? { 'if-match': 'ETag that was read; 412 when the object has changed since' }
      : {}),
    ...doc(route).headers,
  };
  const inHeader = Object.entries(headers).map(([name, description]) => ({
    name,
    in: 'header',
    required: false,
    description,
    schema: text,
  }));
  return [...path, ...query, ...inHeader];
}

const doc = (route: Route): Route['doc'] => route.doc;

function bodyOf(route: Route, book: SchemaBook): Json {
  if (route.doc.upload !== undefined)
    return {
      requestBody: {
        required: true,
        content: { [route.doc.upload]: { schema: { type: 'string', format: 'binary' } } },
      },
    };
  if (route.body === null) return {};
  return {
    requestBody: {
      required: true,
      content: { 'application/json': { schema: book.ref(route.body, 'input') } },
    },
  };
}

function answerOf(answer: Answer, book: SchemaBook): Json {
  const content: Json = {
    ...(answer.schema === undefined
      ? {}
      : { 'application/json': { schema: book.ref(answer.schema, 'output') } }),
    ...(answer.stream === undefined
      ? {}
      : { [answer.stream.split(';')[0] as string]: { schema: { type: 'string' } } }),
  };
  const headers = Object.entries(answer.headers ?? {}).map(([name, description]) => [
    name,
    { description, schema: { type: 'string' } },
  ]);
  return {
    description: answer.description,
    ...(headers.length === 0 ? {} : { headers: Object.fromEntries(headers) as Json }),
    ...(Object.keys(content).length === 0 ? {} : { content }),
  };
}
