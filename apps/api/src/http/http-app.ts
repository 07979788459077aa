import 'reflect-metadata';
import type { Server } from 'node:http';
import helmet from '@fastify/helmet';
import { BerthError } from '@berth/model';
import { Module, type DynamicModule, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { openApiDocument } from '../openapi/document.js';
import { controllers } from './controllers.js';
import { installDashboard } from './dashboard.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { accessOf, callerOrNull, installGate, traceIdOf } from './gate.js';
import { IdempotencyInterceptor } from './idempotency.js';
import { NestLogger } from './nest-logger.js';
import { OPENAPI_TEXT, type OpenApiText } from './openapi.controller.js';
import { ProblemFilter, sendProblem } from './problem-filter.js';
import { asBerthError } from './problems.js';
import { routesOf } from './routes.js';
import { TerminalDoor } from './terminal-door.js';
import { SchemaPipe } from './validation.js';

/** Largest JSON body, bytes. Uploads have their own limit. */
const bodyLimit = 1024 * 1024;

@Module({})
class HttpModule {}

/**
 * The REST API on NestJS and Fastify, not listening yet. Order of a request: gate (token, action, project; before the
 * body is read) → body → idempotency key → schemas → controller. @throws Error when a route declares no action
 */
export async function createHttpApp(
  deps: HttpDeps,
  served: readonly Type[] = controllers,
): Promise<NestFastifyApplication> {
  const routes = routesOf(served);
  // Made when it is first asked for: it would be a sixth of the time of a start.
  let text: string | undefined;
  const openApi: OpenApiText = () => (text ??= JSON.stringify(openApiDocument(routes), null, 2));
  let terminals: TerminalDoor | null = null;
  const module: DynamicModule = {
    module: HttpModule,
    controllers: [...served],
    providers: [
      { provide: HTTP_DEPS, useValue: deps },
      { provide: OPENAPI_TEXT, useValue: openApi },
      // The adapter destroys every connection at the end: terminals are told before.
      { provide: TerminalDoor, useValue: { beforeApplicationShutdown: () => terminals?.close() } },
    ],
  };
  const app = await NestFactory.create<NestFastifyApplication>(module, fastifyAdapter(), {
    logger: new NestLogger(deps.logger),
    bodyParser: false,
    abortOnError: false,
    forceCloseConnections: true,
  });
  const fastify = app.getHttpAdapter().getInstance() as unknown as FastifyInstance;
  await fastify.register(helmet, { contentSecurityPolicy: { directives: { defaultSrc: ["'none'"] } } });
  acceptBodies(fastify);
  installGate(fastify, deps.store, deps.config);
  logRequests(fastify, deps.logger);
  meterRequests(fastify, deps.meters);
  installDashboard(fastify, deps.config.dashboardDir);
  app.useGlobalFilters(new ProblemFilter(routes, deps.logger));
  app.useGlobalInterceptors(new IdempotencyInterceptor(deps));
  app.useGlobalPipes(new SchemaPipe());
  terminals = new TerminalDoor(app.getHttpServer() as Server, deps);
  await app.init();
  await fastify.ready();
  return app;
}

function fastifyAdapter(): FastifyAdapter {
  return new FastifyAdapter({
    bodyLimit,
    routerOptions: { maxParamLength: 256 },
    forceCloseConnections: true,
    // The router refuses an address before any hook runs (bad escapes, a parameter that is too long).
    frameworkErrors: (error: unknown, request: unknown, reply: unknown) => {
      const problem = asBerthError(error);
      sendProblem(reply as FastifyReply, problem, traceIdOf(request as FastifyRequest));
    },
  });
}

/** JSON where a route takes JSON, the raw stream where it takes an upload, and nothing else anywhere. */
function acceptBodies(fastify: FastifyInstance): void {
  fastify.removeContentTypeParser('text/plain');
  fastify.addHook('preParsing', async (request, _reply, payload) => {
    const type = request.headers['content-type'];
    const wanted = accessOf(request)?.upload ?? 'application/json';
    if (type !== undefined && type.split(';')[0]?.trim().toLowerCase() !== wanted && !request.is404)
      throw new BerthError('unsupportedMediaType', `The body has the type ${JSON.stringify(type)}.`, {
        remedy: `Send Content-Type: ${wanted}.`,
      });
    return payload;
  });
  fastify.addContentTypeParser('application/octet-stream', (_request, payload, done) => done(null, payload));
}

/** One line per request; no header, no body, no query is ever logged. */
function logRequests(fastify: FastifyInstance, logger: Logger): void {
  fastify.addHook('onResponse', async (request, reply) => {
    logger.info(
      {
        traceId: traceIdOf(request),
        actor: callerOrNull(request)?.principal.actor ?? null,
        method: request.method,
        path: request.url.split('?')[0],
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime * 10) / 10,
      },
      'request',
    );
  });
}

/** Counts requests by the address as it was declared; what no route took is one series. */
function meterRequests(fastify: FastifyInstance, meters: HttpDeps['meters']): void {
  fastify.addHook('onResponse', async (request, reply) => {
    const route = request.is404 ? '(none)' : (request.routeOptions.url ?? '(none)');
    // What was held open on purpose says nothing of how fast we are.
    const type = String(reply.getHeader('content-type') ?? '');
    const held = /event-stream|octet-stream/.test(type) || /[?&]wait=/.test(request.url);
    meters.request(request.method, route, reply.statusCode, held ? null : reply.elapsedTime / 1000);
  });
}
