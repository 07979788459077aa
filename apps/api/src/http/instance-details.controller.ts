import { Readable } from 'node:stream';
import {
  BerthError,
  CloudInitSeed,
  Decision,
  GuestInfo,
  type Instance,
  InstanceProcesses,
  InstanceSpec,
  Labels,
  Name,
  placeParse,
} from '@berth/model';
import { Controller, Get, Inject, Param, Query, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { missing } from '../access/principal.js';
import { Action } from './action.js';
import { Explanation, HTTP_DEPS, type HttpDeps } from './deps.js';
import { Asking, type Caller } from './gate.js';
import { kindOf, refuseGuest, refusePaused, refuseStopped } from './guest-refusal.js';
import { logOpen } from './log-follow.js';
import { instanceOf } from './project-scope.js';
import { flag, listOf, wholeNumber } from './query.js';

const Revision = z
  .strictObject({
    generation: z.int(),
    spec: InstanceSpec,
    labels: Labels,
    actor: z.string(),
    at: z.iso.datetime(),
  })
  .meta({ id: 'InstanceRevision' });
const Revisions = listOf(Revision);
const Decisions = listOf(Decision);

const DecisionsQuery = z.strictObject({
  limit: wholeNumber(1, 100).default(20).describe('How many, newest first'),
});
const ExplainQuery = z.strictObject({ host: Name.optional().describe('Judge this host alone too') });
const LogsQuery = z.strictObject({
  follow: flag().default(false).describe('Stay and send what comes'),
  tailBytes: wholeNumber(0, 1024 ** 3)
    .optional()
    .describe('Begin this many bytes before the end; all that is kept when absent'),
  tailLines: wholeNumber(0, 100_000)
    .optional()
    .describe(
      'Begin this many lines before the end; with `since` or `tailBytes` too, where the latest of them does',
    ),
  since: z.iso
    .datetime({ offset: true })
    .optional()
    .describe('Begin with the first line that was written then or later. Containers only'),
  timestamps: flag()
    .default(false)
    .describe('Begin each line with its time (RFC 3339, UTC). Containers only'),
  format: z
    .enum(['text', 'json'])
    .default('text')
    .describe(
      '`json`: an object for each line, `{"time", "stream", "text"}`, with `"partial": true` where the line goes on in the next object of its stream. Containers only',
    ),
  after: z
    .string()
    .refine((text) => placeParse(text) !== null, 'must be a place as docs/api-streams.md tells')
    .optional()
    .describe('Go on where an earlier reading broke off; the beginning when its epoch is over'),
});

/** What can be asked of one instance beside itself: why it is where it is, what it prints, what it was. */
@Controller('v1/projects/:project/instances/:name')
export class InstanceDetailsController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get('decision')
  @Action('instances.explain', {
    summary: 'Get the newest decision of the scheduler',
    answers: { 200: { description: 'The decision', schema: Decision } },
  })
  async decision(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
  ): Promise<Decision> {
    const instance = await this.instance(asking, project, name);
    const [newest] = await this.deps.store.decisionList(instance.id, 1);
    if (newest === undefined) throw missing('decision on instance', name);
    return newest;
  }

  @Get('decisions')
  @Action('instances.explain', {
    summary: 'List the decisions of the scheduler, newest first',
    answers: { 200: { description: 'Decisions', schema: Decisions } },
  })
  async decisions(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Query({ schema: DecisionsQuery }) query: z.infer<typeof DecisionsQuery>,
  ): Promise<z.infer<typeof Decisions>> {
    const instance = await this.instance(asking, project, name);
    return { items: [...(await this.deps.store.decisionList(instance.id, query.limit))], nextCursor: null };
  }

  @Get('explain')
  @Action('instances.explain', {
    summary: 'Ask the scheduler where the instance would go now, and why not elsewhere',
    answers: {
      200: { description: 'Recomputed now; the stored decision is another route', schema: Explanation },
    },
  })
  async explain(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Query({ schema: ExplainQuery }) query: z.infer<typeof ExplainQuery>,
  ): Promise<Explanation> {
    return this.deps.explain(await this.instance(asking, project, name), query.host);
  }

  @Get('logs')
  @Action('instances.logs', {
    summary: 'Read what the instance printed: serial output or process output',
    answers: {
      200: {
        description: 'Bytes as they were printed; application/x-ndjson with `format=json`',
        stream: 'text/plain; charset=utf-8',
        headers: {
          'berth-log-start':
            '`<epoch>.<offset>` of the first byte when it is followed or goes on; absent while a new epoch begins',
          'berth-log-gap': '`true` where bytes are missing before the first: the host has dropped them',
        },
      },
    },
  })
  async logs(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Query({ schema: LogsQuery }) query: z.infer<typeof LogsQuery>,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const instance = await this.instance(asking, project, name);
    const after = query.after === undefined ? null : placeParse(query.after);
    const since = query.since === undefined ? undefined : Date.parse(query.since);
    const log = await logOpen(this.deps, instance, { ...query, since, after }, asking.gone);
    const stream = Readable.from(log.bytes, { objectMode: false });
    const type = query.format === 'json' ? 'application/x-ndjson' : 'text/plain; charset=utf-8';
    void reply.header('content-type', type).header('cache-control', 'no-store');
    if (log.start !== null) void reply.header('berth-log-start', `${log.start.epoch}.${log.start.offset}`);
    if (log.gap) void reply.header('berth-log-gap', 'true');
    // A quiet log that is followed would hold the header back: it goes out at once.
    if (query.follow) reply.raw.once('pipe', () => reply.raw.flushHeaders());
    await reply.send(stream);
  }

  @Get('guest')
  @Action('instances.guest', {
    summary: 'Ask the agent in the guest of a running VM what system it is, and what addresses it has',
    answers: { 200: { description: 'In the words of the guest, asked now', schema: GuestInfo } },
  })
  async guest(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
  ): Promise<GuestInfo> {
    const instance = await this.instance(asking, project, name);
    refuseGuest(instance);
    return this.deps.guest(instance);
  }

  @Get('processes')
  @Action('instances.processes', {
    summary: 'List what runs in an instance: of a VM by the agent in its guest, which needs procps',
    answers: { 200: { description: 'As it is now', schema: InstanceProcesses } },
  })
  async processes(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
  ): Promise<InstanceProcesses> {
    const instance = await this.instance(asking, project, name);
    if (instance.spec.isolation === 'vm') refuseGuest(instance);
    refuseStopped(instance);
    // Whoever stands still may be looked at from outside, which a container alone can be.
    if (instance.spec.isolation !== 'container') refusePaused(instance);
    return this.deps.processes(instance);
  }

  @Get('cloudInit')
  @Action('instances.cloudInit', {
    summary:
      'Get what cloud-init in a VM was given at its last start: user data with what the spec adds, network',
    answers: { 200: { description: 'The files of its seed, as they are', schema: CloudInitSeed } },
  })
  async cloudInit(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
  ): Promise<CloudInitSeed> {
    const instance = await this.instance(asking, project, name);
    if (instance.spec.isolation !== 'vm')
      throw new BerthError('unsupported', `${name} is ${kindOf(instance)} and has no cloud-init.`, {
        remedy: 'Read its spec: GET …/instances/{name}.',
      });
    return this.deps.seed(instance);
  }

  @Get('revisions')
  @Action('instances.get', {
    summary: 'List every spec the instance ever had, newest first',
    answers: { 200: { description: 'Revisions', schema: Revisions } },
  })
  async revisions(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
  ): Promise<z.infer<typeof Revisions>> {
    const instance = await this.instance(asking, project, name);
    const rows = await this.deps.store.instanceRevisions(instance.id);
    return { items: rows.map((r) => ({ ...r, at: r.at.toISOString() })), nextCursor: null };
  }

  private async instance(asking: Caller, project: string, name: string): Promise<Instance> {
    return (await instanceOf(this.deps.store, asking.principal, project, name)).instance;
  }
}
