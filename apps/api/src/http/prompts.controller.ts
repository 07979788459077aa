import type { PromptAction } from '@berth/link';
import { BerthError, isWatchdogHold, type Instance, type OperationKind, type ProjectId } from '@berth/model';
import { Body, Controller, Inject, Param, Post, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { instancePrompt } from '../instances/prompt.js';
import { Action, type Answer } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { Asking, type Caller } from './gate.js';
import { hostWithout, kindOf, refuseGuest, refusePaused, refuseStopped } from './guest-refusal.js';
import { Accepted, accepted } from './operation-wait.js';
import { instanceOf } from './project-scope.js';
import { refuseTpmLost } from '../store/refusals.js';

const Freeze = z
  .strictObject({
    seconds: z
      .int()
      .min(1)
      .max(60)
      .default(10)
      .describe('They are thawed after that, if nobody does it before'),
  })
  .meta({ id: 'Freeze' });
type Freeze = z.infer<typeof Freeze>;

const done: Readonly<Record<number, Answer>> = {
  202: {
    description: 'Over already: done, or failed with its reason',
    schema: Accepted,
    headers: { location: 'Address of the operation', etag: 'resourceVersion of the instance' },
  },
};

/** Actions of a running instance that are no wanted state: its host does them at once, or they fail. */
@Controller('v1/projects/:project/instances/:name/actions')
export class PromptsController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Post('reset')
  @Action('instances.act', {
    summary: 'Press the reset button of a running VM: its guest boots anew, what it has not written is lost',
    answers: done,
  })
  async reset(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Accepted> {
    const { instance, projectId } = await instanceOf(this.deps.store, asking.principal, project, name);
    if (instance.spec.isolation !== 'vm')
      throw new BerthError('unsupported', `${name} is ${kindOf(instance)} and has no machine to reset.`, {
        remedy: 'Restart it: POST …/actions/restart.',
      });
    refuseStopped(instance);
    if (!instance.status.conditions.some(isWatchdogHold)) refusePaused(instance);
    refuseTpmLost({ name, conditions: instance.status.conditions }, 'reset');
    const host = await hostWithout(this.deps.store, instance, 'reset');
    if (host !== null)
      throw new BerthError('unsupported', `Host ${host.name} cannot reset ${name}.`, {
        remedy: 'GET /v1/hosts shows the facets of each host; its agent may be older than this API.',
      });
    return this.prompt(asking, reply, { instance, projectId, kind: 'reset' }, () =>
      this.deps.prompts.act(instance, { verb: 'reset' }),
    );
  }

  @Post('freeze')
  @Action('instances.act', {
    summary: 'Freeze the file systems of a running VM by its guest agent, so that its disk can be copied',
    answers: done,
  })
  async freeze(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Body({ schema: Freeze }) { seconds }: Freeze,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Accepted> {
    return this.inGuest(asking, reply, project, name, { verb: 'freeze', seconds });
  }

  @Post('thaw')
  @Action('instances.act', {
    summary: 'Thaw the file systems of a running VM by its guest agent; none frozen is no error',
    answers: done,
  })
  async thaw(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Accepted> {
    return this.inGuest(asking, reply, project, name, { verb: 'thaw' });
  }

  private async inGuest(
    asking: Caller,
    reply: FastifyReply,
    project: string,
    name: string,
    action: Extract<PromptAction, { verb: 'freeze' | 'thaw' }>,
  ): Promise<Accepted> {
    const { instance, projectId } = await instanceOf(this.deps.store, asking.principal, project, name);
    if (instance.spec.isolation !== 'vm')
      throw new BerthError(
        'unsupported',
        `${name} is ${kindOf(instance)}: no guest agent freezes its file systems.`,
        {
          remedy: 'Pause it, which holds what it writes: POST …/actions/pause.',
        },
      );
    refuseGuest(instance);
    refusePaused(instance);
    return this.prompt(asking, reply, { instance, projectId, kind: action.verb }, () =>
      this.deps.prompts.act(instance, action),
    );
  }

  private async prompt(
    asking: Caller,
    reply: FastifyReply,
    asked: { readonly projectId: ProjectId; readonly instance: Instance; readonly kind: OperationKind },
    act: () => Promise<void>,
  ): Promise<Accepted> {
    this.deps.prompts.refuseAway(asked.instance);
    const change = await instancePrompt(this.deps, asking.context, asked, act);
    return accepted(this.deps, reply, change, { seconds: 0, gone: asking.gone });
  }
}
