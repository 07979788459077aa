import { BerthError, isWatchdogHold, type Instance, type OperationKind, type ProjectId } from '@berth/model';
import { Controller, Inject, Param, Post, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { instancePrompt } from '../instances/prompt.js';
import { Action, type Answer } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { Asking, type Caller } from './gate.js';
import { refuseStopped } from './guest-refusal.js';
import { Accepted, accepted } from './operation-wait.js';
import { addressName, found, projectOf } from './project-scope.js';

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
    const { instance, projectId } = await this.instance(asking, project, name);
    if (instance.spec.isolation === 'container')
      throw new BerthError('unsupported', `${name} is a container and has no machine to reset.`, {
        remedy: 'Restart it: POST …/actions/restart.',
      });
    refuseStopped(instance);
    refusePaused(instance);
    await this.refuseWithout('reset', instance);
    return this.prompt(asking, reply, { instance, projectId, kind: 'reset' }, () =>
      this.deps.prompts.act(instance, { verb: 'reset' }),
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

  /** What the instance's host cannot do. @throws BerthError unsupported */
  private async refuseWithout(facet: string, { name, status }: Instance): Promise<void> {
    const host = status.host === null ? null : await this.deps.store.hostById(status.host.id);
    if (host === null || host.capabilities === null || host.capabilities.facets.includes(facet)) return;
    throw new BerthError('unsupported', `Host ${host.name} cannot ${facet} ${name}.`, {
      remedy: 'GET /v1/hosts shows the facets of each host; its agent may be older than this API.',
    });
  }

  /** @throws BerthError notFound */
  private async instance(
    asking: Caller,
    project: string,
    name: string,
  ): Promise<{ readonly instance: Instance; readonly projectId: ProjectId }> {
    const { store } = this.deps;
    const projectId = await projectOf(store, asking.principal, project);
    const stored = await store.instanceGet(projectId, addressName('instance', name));
    return { instance: found('instance', name, stored), projectId };
  }
}

/** @throws BerthError stateConflict */
function refusePaused({ name, status }: Instance): void {
  if (status.state === 'paused' && !status.conditions.some(isWatchdogHold))
    throw new BerthError('stateConflict', `${name} is paused.`, {
      remedy: 'Resume it first: POST …/actions/resume.',
    });
}
