import { HostMetrics, InstanceMetrics } from '@berth/model';
import { Controller, Get, Inject, Param, Query } from '@nestjs/common';
import { z } from 'zod';
import type { Window } from '../metrics/usage-history.js';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { Asking, type Caller } from './gate.js';
import { addressName, found, instanceOf } from './project-scope.js';

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
