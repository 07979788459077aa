import { BerthError } from '@berth/model';
import { Controller, Get, Inject } from '@nestjs/common';
import { z } from 'zod';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';

const Health = z.strictObject({ status: z.literal('ok') }).meta({ id: 'Health' });

@Controller()
export class HealthController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get('healthz')
  @Action('public', {
    summary: 'Whether the process answers',
    answers: { 200: { description: 'It does', schema: Health } },
  })
  alive(): z.infer<typeof Health> {
    return { status: 'ok' };
  }

  @Get('readyz')
  @Action('public', {
    summary: 'Whether Postgres answers and its schema is the one this version needs',
    answers: { 200: { description: 'It does', schema: Health } },
  })
  async ready(): Promise<z.infer<typeof Health>> {
    try {
      await this.deps.store.ping();
    } catch (cause) {
      if (cause instanceof BerthError) throw cause;
      throw new BerthError('unavailable', 'Postgres does not answer, or its schema is not the one needed.', {
        cause,
      });
    }
    return { status: 'ok' };
  }
}
