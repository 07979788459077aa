import {
  BerthError,
  ChangePreview,
  Instance,
  InstanceCreate,
  InstanceSpec,
  InstanceState,
  Isolation,
  Labels,
  Name,
} from '@berth/model';
import { Body, Controller, Delete, Get, Headers, Inject, Param, Post, Put, Query, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { missing } from '../access/principal.js';
import { isHeld, letGo } from '../instances/prompt.js';
import * as requests from '../instances/requests.js';
import type { Verb } from '../store/store.js';
import { Action, type Answer } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { ifMatchOf, setEtag } from './etag.js';
import { Asking, type Caller } from './gate.js';
import { Accepted, accepted } from './operation-wait.js';
import { addressName, found, instanceOf, projectOf } from './project-scope.js';
import { flag, LabelSelector, labelsOf, listOf, Page, StopQuery, Wait } from './query.js';

const InstanceUpdate = z
  .strictObject({ spec: InstanceSpec, labels: Labels.optional().describe('Kept as they are when absent') })
  .meta({ id: 'InstanceUpdate' });

const UpdateQuery = z.strictObject({
  ...Wait.shape,
  dryRun: flag()
    .optional()
    .describe('Change nothing; answer which fields would change and when each takes effect'),
});

const Rebuild = z
  .strictObject({ image: Name.optional().describe('Name of another image; its own when absent') })
  .meta({ id: 'Rebuild' });

const InstanceListQuery = z.strictObject({
  ...Page.shape,
  selector: LabelSelector.optional().describe('Labels that must all match: `key=value,key=value`'),
  state: InstanceState.optional(),
  host: Name.optional().describe('Name of the host that runs it'),
  isolation: Isolation.optional(),
  search: z
    .string()
    .regex(/^[-a-z0-9]{1,63}$/, 'must be letters, digits and "-", as names are')
    .optional()
    .describe('Part of the name'),
});
const Instances = listOf(Instance);
const verbs = new Set<string>(['start', 'stop', 'restart', 'pause', 'resume', 'suspend'] satisfies Verb[]);

const acceptedAnswer: Readonly<Record<number, Answer>> = {
  202: {
    description: 'Recorded; the operation tells how it goes on',
    schema: Accepted,
    headers: { location: 'Address of the operation', etag: 'resourceVersion of the instance' },
  },
};

/** Instances of a project: every mutation answers with the operation that carries it out. */
@Controller('v1/projects/:project/instances')
export class InstancesController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Post()
  @Action('instances.create', { summary: 'Create an instance', answers: acceptedAnswer })
  async create(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Query({ schema: Wait }) query: Wait,
    @Body({ schema: InstanceCreate }) body: InstanceCreate,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Accepted> {
    const projectId = await projectOf(this.deps.store, asking.principal, project);
    const change = await requests.instanceCreate(this.deps, asking.context, projectId, body);
    return accepted(this.deps, reply, change, { seconds: query.wait ?? 0, gone: asking.gone });
  }

  @Get()
  @Action('instances.list', {
    summary: 'List instances, by labels and fields',
    answers: { 200: { description: 'One page, by name', schema: Instances } },
  })
  async list(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
    @Query({ schema: InstanceListQuery }) query: z.infer<typeof InstanceListQuery>,
  ): Promise<z.infer<typeof Instances>> {
    const { selector, limit, ...filter } = query;
    const projectId = await projectOf(this.deps.store, principal, project);
    const page = await this.deps.store.instanceList({
      ...given(filter),
      limit,
      projectId,
      ...(selector === undefined ? {} : { labels: labelsOf(selector) }),
    });
    return { items: [...page.items], nextCursor: page.nextCursor };
  }

  @Get(':name')
  @Action('instances.get', {
    summary: 'Get an instance: what is asked for and what is seen',
    answers: { 200: { description: 'The instance', schema: Instance, headers: { etag: 'resourceVersion' } } },
  })
  async get(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Instance> {
    const { instance } = await instanceOf(this.deps.store, principal, project, name);
    setEtag(reply, instance);
    return instance;
  }

  @Put(':name')
  @Action('instances.update', {
    summary: 'Replace the spec; what runs is brought to it, or keeps the old one until its next start',
    answers: {
      ...acceptedAnswer,
      200: { description: 'With `dryRun`: what would be done. Nothing was', schema: ChangePreview },
    },
    status: 202,
    ifMatch: true,
  })
  async update(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Query({ schema: UpdateQuery }) query: z.infer<typeof UpdateQuery>,
    @Body({ schema: InstanceUpdate }) body: z.infer<typeof InstanceUpdate>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Accepted | ChangePreview> {
    const target = await this.target(asking, project, name, ifMatch);
    const wanted = { spec: body.spec, ...(body.labels === undefined ? {} : { labels: body.labels }) };
    if (query.dryRun === true) {
      void reply.status(200);
      return requests.instanceUpdatePreview(this.deps, asking.context, target, wanted);
    }
    const change = await requests.instanceUpdate(this.deps, asking.context, target, wanted);
    return accepted(this.deps, reply, change, { seconds: query.wait ?? 0, gone: asking.gone });
  }

  @Post(':name/actions/:verb')
  @Action('instances.act', {
    summary: 'start, stop, restart, pause, resume or suspend an instance',
    answers: acceptedAnswer,
    ifMatch: true,
  })
  async act(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Param('verb') verb: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Query({ schema: StopQuery }) { graceSeconds, ...query }: StopQuery,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Accepted> {
    if (!isVerb(verb)) throw missing('action', verb);
    if (graceSeconds !== undefined && verb !== 'stop' && verb !== 'restart') throw graceRefused(verb);
    const target = await this.target(asking, project, name, ifMatch);
    const stored = await this.deps.store.instanceGet(target.projectId, name);
    const instance = found('instance', name, stored);
    const change =
      verb === 'resume' && isHeld(instance)
        ? await letGo(this.deps, asking.context, { ...target, instance })
        : await requests.instanceAct(this.deps, asking.context, target, {
            ...{ instance, verb },
            ...given({ graceSeconds }),
          });
    return accepted(this.deps, reply, change, { seconds: query.wait ?? 0, gone: asking.gone });
  }

  @Post(':name/actions/rebuild')
  @Action('instances.act', {
    summary: 'Give an instance a new root disk, of its image or another; what is on the old one is lost',
    answers: acceptedAnswer,
    ifMatch: true,
  })
  async rebuild(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Query({ schema: Wait }) query: Wait,
    @Body({ schema: Rebuild }) { image }: z.infer<typeof Rebuild>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Accepted> {
    const target = await this.target(asking, project, name, ifMatch);
    const change = await requests.instanceRebuild(this.deps, asking.context, target, image);
    return accepted(this.deps, reply, change, { seconds: query.wait ?? 0, gone: asking.gone });
  }

  @Delete(':name')
  @Action('instances.delete', {
    summary: 'Delete an instance with its root disk',
    answers: acceptedAnswer,
    ifMatch: true,
  })
  async delete(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Query({ schema: StopQuery }) { graceSeconds, ...query }: StopQuery,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Accepted> {
    const target = { ...(await this.target(asking, project, name, ifMatch)), ...given({ graceSeconds }) };
    const { operation, gone } = await requests.instanceDelete(this.deps, asking.context, target);
    const instance = gone ? null : await this.deps.store.instanceGet(target.projectId, name);
    const change = { operation, instance };
    return accepted(this.deps, reply, change, { seconds: query.wait ?? 0, gone: asking.gone });
  }

  private async target(
    asking: Caller,
    project: string,
    name: string,
    ifMatch: string | undefined,
  ): Promise<requests.Target> {
    const projectId = await projectOf(this.deps.store, asking.principal, project);
    return { projectId, name: addressName('instance', name), ...ifMatchOf(ifMatch) };
  }
}

function isVerb(verb: string): verb is Verb {
  return verbs.has(verb);
}

/** Nothing is stopped by other verbs. */
const graceRefused = (verb: Verb): BerthError =>
  new BerthError('invalid', `There is no time of grace in "${verb}".`, {
    remedy: 'Leave out graceSeconds; stop, restart and delete have it.',
    errors: [
      {
        path: 'query/graceSeconds',
        code: 'invalid',
        message: `is for stop and restart, not for ${verb}`,
        remedy: 'Leave it out.',
      },
    ],
  });

/** Without the fields that were not sent. */
function given<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, v]) => v !== undefined)) as never;
}
