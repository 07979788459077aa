import { BerthError } from '@berth/model';
import { Catch, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { traceIdOf } from './gate.js';
import { asBerthError, problemOf } from './problems.js';
import { methodsOf, type Route } from './routes.js';

/** The one translation of errors to HTTP. Causes go to the log, never to the client. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  constructor(
    private readonly routes: readonly Route[],
    private readonly logger: Logger,
  ) {}

  catch(thrown: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const reply = http.getResponse<FastifyReply>();
    const error = request.is404 ? this.unrouted(request, reply) : asBerthError(thrown);
    const traceId = traceIdOf(request);
    if (error.code === 'internal')
      this.logger.error({ traceId, err: error.options.cause ?? error }, 'request failed');
    if (reply.sent || reply.raw.headersSent) {
      reply.raw.destroy();
      return;
    }
    sendProblem(reply, error, traceId);
  }

  /** Nothing is routed here: wrong address, or the right one with a method it does not have. */
  private unrouted(request: FastifyRequest, reply: FastifyReply): BerthError {
    const path = request.url.split('?')[0] ?? '/';
    const methods = methodsOf(this.routes, path);
    if (methods.length === 0)
      return new BerthError('notFound', `there is no route ${path}`, {
        remedy: '/v1/openapi.json lists every route.',
      });
    void reply.header('allow', methods.join(', '));
    return new BerthError('methodNotAllowed', `${path} takes ${methods.join(', ')}, not ${request.method}.`);
  }
}

/** Sends an error as RFC 9457 says. */
export function sendProblem(reply: FastifyReply, error: BerthError, traceId: string): void {
  const problem = problemOf(error, traceId);
  if (error.code === 'unauthenticated') void reply.header('www-authenticate', 'Bearer');
  void reply
    .status(problem.status)
    .header('x-trace-id', traceId)
    .header('content-type', 'application/problem+json; charset=utf-8')
    .serializer((body: unknown) => JSON.stringify(body))
    .send(problem);
}
