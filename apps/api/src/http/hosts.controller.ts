import { Host, Labels } from '@berth/model';
import { Body, Controller, Delete, Get, Headers, Inject, Param, Patch, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { ifMatchOf, setEtag } from './etag.js';
import { Asking, type Caller } from './gate.js';
import { addressName, found } from './project-scope.js';
import { listOf } from './query.js';

const HostUpdate = z
  .strictObject({
    labels: Labels.optional().describe('Replaces all labels'),
    schedulable: z.boolean().optional().describe('false: takes nothing new, keeps what it runs'),
  })
  .refine(
    (h) => h.labels !== undefined || h.schedulable !== undefined,
    'must change labels, schedulable or both',
  )
  .meta({ id: 'HostUpdate' });
const Hosts = listOf(Host);

@Controller('v1/hosts')
export class HostsController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get()
  @Action('hosts.list', {
    summary: 'List hosts with what they can do, hold and have booked',
    answers: { 200: { description: 'All of them', schema: Hosts } },
  })
  async list(): Promise<z.infer<typeof Hosts>> {
    return { items: [...(await this.deps.store.hostList())], nextCursor: null };
  }

  @Get(':host')
  @Action('hosts.get', {
    summary: 'Get a host',
    answers: { 200: { description: 'The host', schema: Host, headers: { etag: 'resourceVersion' } } },
  })
  async get(@Param('host') name: string, @Res({ passthrough: true }) reply: FastifyReply): Promise<Host> {
    const host = found('host', name, await this.deps.store.hostGet(addressName('host', name)));
    setEtag(reply, host);
    return host;
  }

  @Patch(':host')
  @Action('hosts.update', {
    summary: 'Change labels, or whether new instances may be placed here',
    answers: { 200: { description: 'The host as it is now', schema: Host } },
    ifMatch: true,
  })
  async update(
    @Asking() { context }: Caller,
    @Param('host') name: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Body({ schema: HostUpdate }) body: z.infer<typeof HostUpdate>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Host> {
    const host = await this.deps.store.hostUpdate(context, addressName('host', name), {
      ...(body.labels === undefined ? {} : { labels: body.labels }),
      ...(body.schedulable === undefined ? {} : { schedulable: body.schedulable }),
      ...ifMatchOf(ifMatch),
    });
    this.deps.wake.ledger();
    this.deps.wake.scheduler();
    setEtag(reply, host);
    return host;
  }

  @Delete(':host')
  @Action('hosts.delete', {
    summary: 'Remove a host that holds nothing any more; its agent is refused from then on',
    answers: { 204: { description: 'Gone' } },
  })
  async delete(@Asking() { context }: Caller, @Param('host') name: string): Promise<void> {
    await this.deps.store.hostRemove(context, addressName('host', name));
    this.deps.wake.ledger();
  }
}
