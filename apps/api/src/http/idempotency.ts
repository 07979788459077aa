import { createHash } from 'node:crypto';
import { faultPoint } from '@berth/faults';
import { BerthError, type InstanceId, type Operation, type OperationId } from '@berth/model';
import type { CallHandler, ExecutionContext, NestInterceptor } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { firstValueFrom, from, of, type Observable } from 'rxjs';
import type { KeptAnswer, RequestContext } from '../store/store.js';
import type { HttpDeps } from './deps.js';
import { accessOf, callerOrNull, callerSet } from './gate.js';
import { accepted, imageAccepted, volumeAccepted } from './operation-wait.js';

/** A live request renews nothing, so the lease covers the longest one: `?wait=60`, or an upload. Seconds. */
const lease = { request: 90, upload: 3600 };
const ttlSeconds = 24 * 3600;
const keptHeaders = ['location', 'etag'] as const;

interface Held {
  readonly scope: string;
  readonly key: string;
}

/**
 * The context for the store's writer that makes what a POST is answered with: the answer is kept in the same transaction, so
 * that no crash can part the two. `bodyOf` may be called again, and may set headers.
 */
export function answering<T>(
  reply: FastifyReply,
  context: RequestContext,
  bodyOf: (made: T) => unknown,
): RequestContext {
  if (context.idempotency === undefined) return context;
  const answerOf = (made: unknown): KeptAnswer => kept(reply, bodyOf(made as T));
  return { ...context, idempotency: { ...context.idempotency, answerOf } };
}

function kept(reply: FastifyReply, answer: unknown): KeptAnswer {
  const headers = keptHeaders.flatMap((name) => {
    const value = reply.getHeader(name);
    return typeof value === 'string' ? [[name, value] as const] : [];
  });
  return { status: reply.statusCode, answer: withoutSecret(answer), headers: Object.fromEntries(headers) };
}

/**
 * `Idempotency-Key` on every POST: the first answer is stored and replayed to the same token on the same address. A
 * failed request changed nothing, so its key is free again. An upload's body is not hashed (it is a stream): its
 * address and length stand for it.
 */
export class IdempotencyInterceptor implements NestInterceptor {
  constructor(private readonly deps: Pick<HttpDeps, 'store' | 'ledger' | 'traces'>) {}

  async intercept(context: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const reply = context.switchToHttp().getResponse<FastifyReply>();
    const key = request.method === 'POST' ? keyOf(request.headers['idempotency-key']) : null;
    // What anybody may ask (sign-in) belongs to no token, and what writes nothing needs no key.
    const caller = callerOrNull(request);
    if (key === null || caller === null || accessOf(request)?.readOnly === true) return next.handle();
    const held: Held = { scope: `${caller.principal.tokenId} ${request.url.split('?')[0] ?? ''}`, key };
    const upload = accessOf(request)?.upload !== undefined;
    const begin = await this.deps.store.idempotencyBegin({
      ...held,
      requestHash: fingerprint(request, upload),
      leaseSeconds: upload ? lease.upload : lease.request,
      ttlSeconds,
    });
    switch (begin.outcome) {
      case 'mismatch':
        throw new BerthError('idempotencyMismatch', 'This Idempotency-Key was used for another request.', {
          remedy: 'Use a fresh key for a new request, or repeat the first one unchanged.',
        });
      case 'inProgress':
        throw new BerthError(
          'idempotencyInProgress',
          'The first request with this Idempotency-Key is under way.',
          {
            remedy: 'Repeat the request in a few seconds to get its answer.',
          },
        );
      case 'replay':
        for (const [name, value] of Object.entries(begin.headers)) void reply.header(name, value);
        void reply.header('idempotent-replay', 'true');
        return of(begin.answer);
      case 'committed':
        void reply.header('idempotent-replay', 'true');
        return from(this.rebuilt(reply, held, begin.operationId, caller.gone));
      case 'begun':
        callerSet(request, { ...caller, context: { ...caller.context, idempotency: held } });
        return from(this.first(reply, held, next));
    }
  }

  /** Runs the handler and keeps its answer. */
  private async first(reply: FastifyReply, held: Held, next: CallHandler): Promise<unknown> {
    let answer: unknown;
    await faultPoint('api.key.begun', held.key);
    try {
      answer = await firstValueFrom(next.handle());
    } catch (error) {
      // The store leaves a key alone whose work was committed after all.
      await this.deps.store.idempotencyAbandon(held.scope, held.key).catch(() => false);
      throw error;
    }
    await faultPoint('api.key.committed', held.key);
    // What was kept with the work is the same, without its secret.
    await this.deps.store.idempotencyComplete({ ...held, ...kept(reply, answer) });
    await faultPoint('api.key.kept', held.key);
    return answer;
  }

  /** The work was committed, and the process died before it answered: answers from the operation. */
  private async rebuilt(reply: FastifyReply, held: Held, id: string, gone: AbortSignal): Promise<unknown> {
    const operation = await this.deps.store.operationGet(null, id as OperationId);
    if (operation === null) throw new Error(`operation ${id} of a committed request is not stored`);
    const answer = await this.answerOf(reply, operation, gone);
    // Of several that make it again, all give the one that was kept first.
    const first = await this.deps.store.idempotencyComplete({ ...held, ...kept(reply, answer) });
    for (const [name, value] of Object.entries(first.headers)) void reply.header(name, value);
    return first.answer;
  }

  private async answerOf(reply: FastifyReply, operation: Operation, gone: AbortSignal): Promise<unknown> {
    const wait = { seconds: 0, gone };
    if (operation.target.kind === 'image') return imageAccepted(this.deps, reply, operation, wait);
    if (operation.target.kind === 'volume') return volumeAccepted(this.deps, reply, operation, wait);
    const instance = await this.deps.store.instanceById(operation.target.id as InstanceId);
    return accepted(this.deps, reply, { operation, instance }, wait);
  }
}

/** Secrets are shown once and never stored: a replay carries null in their place. */
function withoutSecret(answer: unknown): unknown {
  return typeof answer === 'object' && answer !== null && 'secret' in answer
    ? { ...answer, secret: null }
    : answer;
}

function keyOf(header: string | string[] | undefined): string | null {
  if (header === undefined) return null;
  if (typeof header === 'string' && /^[\x21-\x7e]{1,255}$/.test(header)) return header;
  throw new BerthError('invalid', 'The Idempotency-Key is not valid.', {
    errors: [
      {
        path: 'header/idempotency-key',
        code: 'wrongFormat',
        message: 'must be 1 to 255 visible ASCII characters',
        remedy: 'Send a fresh UUID per request.',
      },
    ],
  });
}

function fingerprint(request: FastifyRequest, upload: boolean): string {
  const body = upload ? (request.headers['content-length'] ?? '') : JSON.stringify(request.body ?? null);
  return createHash('sha256').update(`${request.method}\n${request.url}\n${body}`).digest('hex');
}
