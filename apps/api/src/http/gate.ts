import { randomBytes } from 'node:crypto';
import { BerthError, Name } from '@berth/model';
import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { cookieOf, csrfHeader, csrfMatches, originScheme } from '../access/browser.js';
import { authorise, missing, principalOf, type Principal } from '../access/principal.js';
import { bearerOf, hashSecret } from '../access/secret.js';
import type { RequestContext, Store } from '../store/store.js';
import type { RouteAccess } from './action.js';
import type { HttpConfig } from './deps.js';
import { isLocal } from './loopback.js';

/** What the gate learnt of a request. */
export interface Caller {
  readonly principal: Principal;
  readonly context: RequestContext;
  /** Fires when the client has gone. */
  readonly gone: AbortSignal;
  /** Looks the token up again, for answers that go on for long. @throws BerthError unauthenticated */
  readonly stillAllowed: () => Promise<void>;
}

const traceIds = new WeakMap<object, string>();
const callers = new WeakMap<FastifyRequest, Caller>();

/** Trace id of a request: the caller's (W3C Trace Context) or a fresh one. */
export function traceIdOf(request: Pick<FastifyRequest, 'headers'>): string {
  let id = traceIds.get(request);
  if (id === undefined) {
    const header = request.headers['traceparent'];
    const given = /^00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/.exec(
      typeof header === 'string' ? header : '',
    )?.[1];
    id = given !== undefined && !/^0+$/.test(given) ? given : randomBytes(16).toString('hex');
    traceIds.set(request, id);
  }
  return id;
}

export function callerOf(request: FastifyRequest): Caller {
  const caller = callers.get(request);
  if (caller === undefined) throw new Error('no caller: the route is public');
  return caller;
}

export function callerOrNull(request: FastifyRequest): Caller | null {
  return callers.get(request) ?? null;
}

/** Replaces what a request carries on, for example when it holds an idempotency key. */
export function callerSet(request: FastifyRequest, caller: Caller): void {
  callers.set(request, caller);
}

/** Parameter of a handler: who asks. */
export const Asking = createParamDecorator((_: unknown, context: ExecutionContext): Caller =>
  callerOf(context.switchToHttp().getRequest<FastifyRequest>()),
);

export function accessOf(request: FastifyRequest): RouteAccess | undefined {
  return (request.routeOptions.config as { berth?: RouteAccess } | undefined)?.berth;
}

/**
 * Decides every request before its body is read: token or session, then action and project. Nothing is looked up on
 * behalf of a token that may not see it, so "not yours" and "not there" cannot differ.
 */
export function installGate(
  fastify: FastifyInstance,
  store: Store,
  { metricsAccess, session: { idleSeconds } }: Pick<HttpConfig, 'metricsAccess' | 'session'>,
): void {
  fastify.addHook('onRequest', async (request: FastifyRequest, reply: FastifyReply) => {
    void reply.header('x-trace-id', traceIdOf(request));
    const access = accessOf(request);
    if (access === undefined || access.action === 'public') return;
    if (access.action === 'metrics.read' && metricsAccess === 'loopback' && isLocal(request)) return;
    const principal = await authenticate(store, request, idleSeconds);
    authorise(principal, access.action, projectParam(request));
    const gone = new AbortController();
    reply.raw.once('close', () => gone.abort());
    callers.set(request, {
      principal,
      context: { actor: principal.actor, traceId: traceIdOf(request) },
      gone: gone.signal,
      stillAllowed: async () => void (await authenticate(store, request, idleSeconds)),
    });
  });
}

function projectParam(request: FastifyRequest): string | undefined {
  const project = (request.params as { project?: string } | undefined)?.project;
  if (project !== undefined && !Name.safeParse(project).success) throw missing('project', project);
  return project;
}

/** Who asks: an Authorization header always decides alone; without one the cookie of a browser does. */
async function authenticate(store: Store, request: FastifyRequest, idleSeconds: number): Promise<Principal> {
  const { authorization, cookie } = request.headers;
  const session = authorization === undefined ? cookieOf(cookie) : null;
  if (session !== null) return bySession(store, request, session, idleSeconds);
  const plain = bearerOf(authorization);
  const row = plain === null ? null : await store.tokenFindByHash(hashSecret(plain));
  if (row === null)
    throw new BerthError('unauthenticated', 'The request carries no valid token.', {
      remedy: 'Send "Authorization: Bearer <token>" with a token that is neither expired nor revoked.',
    });
  return principalOf(row, null);
}

async function bySession(
  store: Store,
  request: FastifyRequest,
  cookie: NonNullable<ReturnType<typeof cookieOf>>,
  idleSeconds: number,
): Promise<Principal> {
  if (request.method !== 'GET' && request.method !== 'HEAD') refuseForged(request, cookie);
  const session = await store.browserSessionSee(hashSecret(cookie.secret), idleSeconds);
  if (session === null)
    throw new BerthError('unauthenticated', 'The session is over.', { remedy: 'Sign in again.' });
  return principalOf(session.token, session);
}

/** A mutation by cookie must come from a page of this API, and repeat what only such a page can know. */
function refuseForged(request: FastifyRequest, cookie: NonNullable<ReturnType<typeof cookieOf>>): void {
  const { origin, host } = request.headers;
  if (originScheme(origin, host) !== cookie.scheme)
    throw new BerthError('forbidden', 'The request does not come from a page of this API.', {
      remedy: 'Use the dashboard at /ui/, or a bearer token. A proxy in front must pass the Host header on.',
    });
  if (!csrfMatches(cookie.secret, request.headers[csrfHeader]))
    throw new BerthError('forbidden', `The request lacks the ${csrfHeader} header of its session.`, {
      remedy: `Send the csrf value that GET /v1/session answers as ${csrfHeader}.`,
    });
}
