import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { BerthError } from '@berth/model';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { traceIdOf } from './gate.js';
import { sendProblem } from './problem-filter.js';

interface Asset {
  readonly type: string;
  readonly etag: string;
  /** The file as it is, and as the build compressed it. */
  readonly bodies: Readonly<Partial<Record<'identity' | 'br' | 'gzip', Buffer>>>;
}

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** Scripts from here alone; inline styles are what the component library and the terminal write. */
const contentSecurityPolicy = [
  `default-src 'none'`,
  `script-src 'self'`,
  `style-src 'self' 'unsafe-inline'`,
  `img-src 'self' data:`,
  `connect-src 'self'`,
  `base-uri 'none'`,
  `form-action 'self'`,
  `frame-ancestors 'none'`,
].join('; ');

/**
 * Serves the built dashboard below `/ui/`. Its files are read once, so no path of a request ever reaches the file
 * system; what is no file there is one of its pages. @param dir `dist` of apps/dashboard; absent: nothing was built
 */
export function installDashboard(fastify: FastifyInstance, dir: string | null): void {
  const assets = dir === null || !existsSync(dir) ? new Map<string, Asset>() : assetsRead(dir);
  fastify.get('/ui', (_request, reply) => reply.redirect('/ui/', 308));
  fastify.get('/ui/*', (request, reply) => answer(assets, request, reply));
  // Whoever types the address of the API into a browser means the dashboard.
  fastify.get('/', (request, reply) =>
    /\btext\/html\b/.test(request.headers.accept ?? '')
      ? reply.redirect('/ui/')
      : refuse(request, reply, '/'),
  );
}

function answer(
  assets: ReadonlyMap<string, Asset>,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const path = (request.url.split('?')[0] ?? '').slice('/ui/'.length);
  const asset = assets.get(path) ?? (path.startsWith('assets/') ? undefined : assets.get('index.html'));
  if (asset === undefined) return refuse(request, reply, `/ui/${path}`);
  // The build names files below assets/ after their content.
  const kept = path.startsWith('assets/') ? 'public, max-age=31536000, immutable' : 'no-cache';
  void reply
    .header('cache-control', kept)
    .header('content-security-policy', contentSecurityPolicy)
    .header('vary', 'accept-encoding')
    .header('etag', asset.etag);
  if (request.headers['if-none-match'] === asset.etag) return reply.status(304).send();
  const accepted = request.headers['accept-encoding'] ?? '';
  const encoding = (['br', 'gzip'] as const).find(
    (e) => asset.bodies[e] !== undefined && new RegExp(`\\b${e}\\b(?!;q=0)`).test(String(accepted)),
  );
  if (encoding !== undefined) void reply.header('content-encoding', encoding);
  return reply.type(asset.type).send(asset.bodies[encoding ?? 'identity']);
}

function refuse(request: FastifyRequest, reply: FastifyReply, path: string): FastifyReply {
  const remedy = path.startsWith('/ui/')
    ? 'Open /ui/. When nothing is there the dashboard was not built: run ./berth up, which builds.'
    : '/v1/openapi.json lists every route.';
  sendProblem(reply, new BerthError('notFound', `there is no route ${path}`, { remedy }), traceIdOf(request));
  return reply;
}

function assetsRead(dir: string): Map<string, Asset> {
  const names = readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(dir.length).replace(/^\/+/, ''));
  const read = (name: string): Buffer | undefined =>
    names.includes(name) ? readFileSync(join(dir, name)) : undefined;
  return new Map(
    names.flatMap((name) => {
      const type = types[extname(name)];
      if (type === undefined) return [];
      const identity = readFileSync(join(dir, name));
      const [br, gzip] = [read(`${name}.br`), read(`${name}.gz`)];
      const etag = `"${createHash('sha256').update(identity).digest('hex').slice(0, 32)}"`;
      const bodies = { identity, ...(br && { br }), ...(gzip && { gzip }) };
      return [[name, { type, etag, bodies }]];
    }),
  );
}
