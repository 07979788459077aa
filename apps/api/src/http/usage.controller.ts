import { Readable } from 'node:stream';
import { HostMetrics, InstanceMetrics, InstanceStats } from '@berth/model';
import { Controller, Get, Inject, Param, Query, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Window } from '../metrics/usage-history.js';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { Asking, type Caller } from './gate.js';
import { refuseStopped } from './guest-refusal.js';
import { addressName, found, instanceOf } from './project-scope.js';
import { flag, wholeNumber } from './query.js';
import { statsText } from './stats-text.js';

const unitSeconds = { s: 1, m: 60, h: 3600 } as const;

/** `90s`, `15m`, `1h` in a query string, as seconds. */
const duration = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,4}[smh]$/, 'must be a number with s, m or h')
    .transform((text) => Number(text.slice(0, -1)) * unitSeconds[text.at(-1) as keyof typeof unitSeconds])
    .pipe(z.int().min(min).max(max));

const UsageQuery = z.strictObject({
  window: duration(60, 3600).default(3600).describe('How far back, at most `1h`'),
  step: duration(15, 3600).default(30).describe('Between two points; hosts measure every 15 s'),
});
type UsageQuery = z.infer<typeof UsageQuery>;
const windowOf = ({ window, step }: UsageQuery): Window => ({ seconds: window, step });

const StatsQuery = z.strictObject({
  follow: flag().default(false).describe('Go on after the first object, until the instance runs no more'),
  intervalSeconds: wholeNumber(1, 60).default(1).describe('Between two objects'),
});

/** Small histories of what is used; Prometheus is the place for long ones. */
@Controller('v1')
export class UsageController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get('projects/:project/instances/:name/metrics')
  @Action('instances.metrics', {
    summary: 'Get what an instance used in the last hour, as arrays for a plot',
    answers: {
      200: { description: 'One point per step, null where nothing was measured', schema: InstanceMetrics },
    },
  })
  async instance(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Query({ schema: UsageQuery }) query: UsageQuery,
  ): Promise<InstanceMetrics> {
    const { instance } = await instanceOf(this.deps.store, asking.principal, project, name);
    return this.deps.usage.instance(instance.id, windowOf(query));
  }

  @Get('projects/:project/instances/:name/stats')
  @Action('instances.metrics', {
    summary: 'Measure what a running instance uses now: one object after an interval, or one after each',
    answers: {
      200: {
        description:
          'An InstanceStats on each line; the end is clean when the instance runs no more. Whoever reads slowly misses some, and gets none late',
        schema: InstanceStats,
        stream: 'application/x-ndjson',
      },
    },
  })
  async stats(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Query({ schema: StatsQuery }) query: z.infer<typeof StatsQuery>,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const { instance } = await instanceOf(this.deps.store, asking.principal, project, name);
    refuseStopped(instance);
    const text = await statsText(this.deps, instance, query, asking);
    const { follow } = query;
    void reply.header('content-type', follow ? 'application/x-ndjson' : 'application/json');
    void reply.header('cache-control', 'no-store');
    // The first measurement takes an interval: the header goes out before.
    reply.raw.once('pipe', () => reply.raw.flushHeaders());
    await reply.send(Readable.from(text, { objectMode: false, highWaterMark: 1 }));
  }

  @Get('hosts/:host/metrics')
  @Action('hosts.metrics', {
    summary: 'Get what a host used in the last hour, as arrays for a plot',
    answers: {
      200: { description: 'One point per step, null where nothing was measured', schema: HostMetrics },
    },
  })
  async host(
    @Param('host') name: string,
    @Query({ schema: UsageQuery }) query: UsageQuery,
  ): Promise<HostMetrics> {
    const host = found('host', name, await this.deps.store.hostGet(addressName('host', name)));
    return this.deps.usage.host(host.id, windowOf(query));
  }
}
