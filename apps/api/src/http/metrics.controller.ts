import { Controller, Get, Inject, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';

@Controller('metrics')
export class MetricsController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get()
  @Action('metrics.read', {
    summary: 'Get figures for Prometheus',
    answers: { 200: { description: 'The text format', stream: 'text/plain' } },
  })
  async read(@Res() reply: FastifyReply): Promise<void> {
    const { metrics } = this.deps;
    const text = await metrics.text();
    await reply.header('content-type', metrics.contentType).header('cache-control', 'no-store').send(text);
  }
}
