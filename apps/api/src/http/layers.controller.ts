import { BerthError, type Instance, InstanceCommit, LayerChange } from '@berth/model';
import { Body, Controller, Get, Inject, Param, Post, Query, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { Asking, type Caller } from './gate.js';
import { kindOf } from './guest-refusal.js';
import { imageAccepted, type ImageAccepted, imageRecorded } from './operation-wait.js';
import { instanceOf } from './project-scope.js';
import { listOf, Wait, wholeNumber } from './query.js';

const LayerChanges = listOf(LayerChange);
/** A cursor is a path, which Linux bounds. */
const DiffQuery = z.strictObject({
  limit: wholeNumber(1, 1000).default(500).describe('Paths of one page; long ones make it shorter'),
  cursor: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,8192}$/, 'must be a nextCursor')
    .optional()
    .describe('`nextCursor` of the page before'),
});

/** States in which what a container changed can be read. */
const readable = new Set<Instance['status']['state']>(['running', 'paused', 'stopped']);

/** What a container changed of its image. */
@Controller('v1/projects/:project/instances/:name')
export class LayersController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get('diff')
  @Action('instances.diff', {
    summary: 'List the paths that a container added, changed and deleted of its image, parents first',
    answers: { 200: { description: 'One page, as it is now', schema: LayerChanges } },
  })
  async diff(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Query({ schema: DiffQuery }) { limit, cursor }: z.infer<typeof DiffQuery>,
  ): Promise<z.infer<typeof LayerChanges>> {
    const { instance } = await instanceOf(this.deps.store, asking.principal, project, name);
    refuseUnread(instance);
    const page = await this.deps.layers.changes(instance, { limit, after: cursor }, asking.gone);
    return { items: page.items, nextCursor: page.next };
  }

  @Post('actions/commit')
  @Action('instances.commit', {
    summary:
      'Make an image of a container as it is: its image, and one more layer with what it changed. One that runs stands still meanwhile',
    answers: imageRecorded,
  })
  async commit(
    @Asking() { context, gone, principal }: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Body({ schema: InstanceCommit }) body: InstanceCommit,
    @Query({ schema: Wait }) query: Wait,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<ImageAccepted> {
    const { instance } = await instanceOf(this.deps.store, principal, project, name);
    refuseUnread(instance);
    this.deps.layers.refuseAway(instance);
    const operation = await this.deps.imports.commit(context, project, instance, body);
    this.deps.wake.ledger();
    return imageAccepted(this.deps, reply, operation, { seconds: query.wait ?? 0, gone });
  }
}

/** @throws BerthError unsupported, stateConflict */
function refuseUnread(instance: Instance): void {
  const { name, status, spec } = instance;
  if (spec.isolation !== 'container')
    throw new BerthError(
      'unsupported',
      `${name} is ${kindOf(instance)}, and has a disk instead of a layer.`,
      {
        remedy: 'Take a snapshot of it, or export its volumes.',
      },
    );
  if (!readable.has(status.state) || status.host === null)
    throw new BerthError('stateConflict', `${name} is ${status.state}, and what it changed cannot be read.`, {
      remedy: 'Wait until it is running, paused or stopped, and has run once.',
    });
}
