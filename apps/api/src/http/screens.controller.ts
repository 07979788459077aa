import { BerthError, displaysMost, SendKeys, type Instance, type ProjectId } from '@berth/model';
import { Body, Controller, Get, Inject, Param, Post, Query, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { Asking, type Caller } from './gate.js';
import { answering } from './idempotency.js';
import { instanceOf } from './project-scope.js';
import { wholeNumber } from './query.js';
import { refuseHead, refuseTerminal, refuseWithoutDisplay } from './terminals.controller.js';

const ScreenshotQuery = z.strictObject({
  head: wholeNumber(0, displaysMost - 1)
    .optional()
    .describe('Which of its screens, counted from 0, the first; 0 when absent'),
});

const KeysSent = z
  .strictObject({ presses: z.int().describe('How many combinations were pressed') })
  .meta({ id: 'KeysSent' });
type KeysSent = z.infer<typeof KeysSent>;

/** What is asked of the display of a VM and answered at once. To look at it as it changes is another route: `…/display`. */
@Controller('v1/projects/:project/instances/:name')
export class ScreensController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get('screenshot')
  @Action('instances.screenshot', {
    summary: 'Get what is on the screen of a running VM',
    answers: { 200: { description: 'A PNG file', stream: 'image/png' } },
  })
  async screenshot(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Query({ schema: ScreenshotQuery }) { head = 0 }: z.infer<typeof ScreenshotQuery>,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const { instance } = await this.displayed(asking, project, name);
    refuseHead(instance, head, 'query/head');
    const png = await this.deps.terminals.screenshot(instance, head, asking.gone);
    await reply
      .header('content-type', 'image/png')
      .header('cache-control', 'no-store')
      .send(Buffer.from(png));
  }

  @Post('keys')
  @Action('instances.keys', {
    summary: 'Press keys on the keyboard of a running VM, one combination after another',
    answers: { 200: { description: 'They were pressed', schema: KeysSent } },
  })
  async keys(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Body({ schema: SendKeys }) body: SendKeys,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<KeysSent> {
    const { instance, projectId } = await this.displayed(asking, project, name);
    if (instance.status.state === 'paused')
      throw new BerthError('stateConflict', `${name} is paused and takes no keys.`, {
        remedy: 'Resume it first: POST …/actions/resume.',
      });
    await this.deps.terminals.sendKeys(instance, body, asking.gone);
    const sent = { presses: body.presses.length };
    // How many and by whom, never which: they may be a password.
    await this.deps.store.eventInsert(
      answering(reply, asking.context, () => sent),
      {
        class: 'audit',
        type: 'keys.sent',
        projectId,
        object: { kind: 'instance', id: instance.id, name: instance.name },
        data: sent,
      },
    );
    this.deps.wake.ledger();
    return sent;
  }

  /** A VM that runs, on a host that can be asked. @throws BerthError notFound, unsupported, stateConflict, unavailable */
  private async displayed(
    asking: Caller,
    project: string,
    name: string,
  ): Promise<{ readonly instance: Instance; readonly projectId: ProjectId }> {
    const { store, terminals } = this.deps;
    const { instance, projectId } = await instanceOf(store, asking.principal, project, name);
    refuseTerminal(instance, { kind: 'display' });
    terminals.refuseAway(instance);
    await refuseWithoutDisplay(store, instance);
    return { instance, projectId };
  }
}
