import { Controller, Get, Inject, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { Action } from './action.js';

/** The document's text, made once. */
export type OpenApiText = () => string;
/** Nest's token for it. */
export const OPENAPI_TEXT = Symbol('berth:openapi');

@Controller('v1/openapi.json')
export class OpenApiController {
  constructor(@Inject(OPENAPI_TEXT) private readonly text: OpenApiText) {}

  @Get()
  @Action('public', {
    summary: 'This document',
    answers: { 200: { description: 'OpenAPI 3.1', stream: 'application/json' } },
  })
  document(@Res() reply: FastifyReply): void {
    void reply.header('content-type', 'application/json; charset=utf-8').send(this.text());
  }
}
