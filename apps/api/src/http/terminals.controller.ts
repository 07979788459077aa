import {
  attachFacet,
  AttachOpen,
  BerthError,
  ConsoleOpen,
  DisplayOpen,
  displaysOf,
  ExecOpen,
  type Instance,
  type TerminalOpen,
} from '@berth/model';
import { Body, Controller, Get, Inject, Param, Post, Query, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { Asking, type Caller } from './gate.js';
import { hostWithout, kindOf, refuseGuest, refuseGuestExec, refuseStopped } from './guest-refusal.js';
import { instanceOf } from './project-scope.js';
import type { Store } from '../store/store.js';
import { terminalTicketMake } from './terminal-ticket.js';

const TerminalTicket = z
  .strictObject({
    secret: z
      .string()
      .nullable()
      .describe('Spend it once on GET /v1/console?ticket=…; null when the answer is a replay'),
    expiresAt: z.iso.datetime(),
  })
  .meta({ id: 'TerminalTicket' });
type TerminalTicket = z.infer<typeof TerminalTicket>;
const ticketAnswer = {
  201: { description: 'A ticket that works once, for 30 seconds', schema: TerminalTicket },
};

/** Tickets for the console and the display of a VM, the first process of a container, and for programs in an instance; the WebSocket they are spent on is beside. */
@Controller('v1/projects/:project/instances/:name')
export class TerminalsController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Post('console')
  @Action('instances.console', {
    summary: 'Ask for a ticket for the serial console of a running VM',
    answers: ticketAnswer,
  })
  async console(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Body({ schema: ConsoleOpen }) body: ConsoleOpen,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<TerminalTicket> {
    return this.ticket(asking, project, name, { kind: 'console', ...body }, reply);
  }

  @Post('display')
  @Action('instances.display', {
    summary: 'Ask for a ticket for the display of a running VM: VNC over a WebSocket',
    answers: ticketAnswer,
  })
  async display(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Body({ schema: DisplayOpen }) body: DisplayOpen,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<TerminalTicket> {
    return this.ticket(asking, project, name, { kind: 'display', ...body }, reply);
  }

  @Post('attach')
  @Action('instances.attach', {
    summary: 'Ask for a ticket for the first process of a running container: what it prints, and its input',
    answers: ticketAnswer,
  })
  async attach(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Body({ schema: AttachOpen }) body: AttachOpen,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<TerminalTicket> {
    return this.ticket(asking, project, name, { kind: 'attach', ...body }, reply);
  }

  @Post('exec')
  @Action('instances.exec', {
    summary:
      'Ask for a ticket that runs a program in a running container, or by the guest agent in a running VM',
    answers: ticketAnswer,
  })
  async exec(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Body({ schema: ExecOpen }) body: ExecOpen,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<TerminalTicket> {
    return this.ticket(asking, project, name, { kind: 'exec', ...body }, reply);
  }

  private async ticket(
    asking: Caller,
    project: string,
    name: string,
    opens: TerminalOpen,
    reply: FastifyReply,
  ): Promise<TerminalTicket> {
    const { store, terminals } = this.deps;
    const { instance } = await instanceOf(store, asking.principal, project, name);
    refuseTerminal(instance, opens);
    terminals.refuseAway(instance);
    if (opens.kind === 'display') {
      await refuseWithoutDisplay(store, instance);
      refuseHead(instance, opens.head ?? 0, '/head');
    }
    if (opens.kind === 'attach') await refuseWithoutAttach(store, instance);
    void reply.header('cache-control', 'no-store');
    return terminalTicketMake(this.deps, asking, reply, instance.id, opens);
  }
}

/** What this instance has no such terminal for, now or ever. @throws BerthError unsupported, stateConflict */
export function refuseTerminal(instance: Instance, opens: TerminalOpen): void {
  const { name, spec } = instance;
  if (opens.kind === 'console' && spec.isolation !== 'vm')
    throw new BerthError('unsupported', `${name} is ${kindOf(instance)} and has no serial console.`, {
      remedy: 'Run a program in it instead: POST …/exec, or read what it prints: GET …/logs.',
    });
  if (opens.kind === 'display' && spec.isolation !== 'vm')
    throw new BerthError('unsupported', `${name} is ${kindOf(instance)} and has no display.`, {
      remedy: 'Run a program in it instead: POST …/exec, or read what it prints: GET …/logs.',
    });
  if (opens.kind === 'attach') refuseAttach(instance, opens);
  if (opens.kind === 'exec' && spec.isolation === 'vm') {
    refuseGuestExec(opens);
    return refuseGuest(instance);
  }
  refuseStopped(instance);
}

/** What cannot be attached to. @throws BerthError unsupported */
function refuseAttach({ name, spec }: Instance, { readOnly }: AttachOpen): void {
  if (spec.isolation === 'vm')
    throw new BerthError('unsupported', `${name} is a virtual machine and has no first process of ours.`, {
      remedy: 'Use its serial console: POST …/console.',
    });
  if (spec.isolation === 'microvm')
    throw new BerthError('unsupported', `${name} is a microVM, whose first process has no input.`, {
      remedy: 'Run a program in it: POST …/exec, or follow what it prints: GET …/logs?follow=true.',
    });
  if (readOnly || spec.process?.stdin === true || spec.process?.tty === true) return;
  const message = `The first process of ${name} has no input.`;
  const remedy = 'Attach with readOnly, or set spec.process.stdin or spec.process.tty and restart it.';
  const errors = [{ path: '/readOnly', code: 'unsupported', message, remedy }];
  throw new BerthError('unsupported', message, { remedy, errors });
}

/** @throws BerthError unsupported */
async function refuseWithoutAttach(store: Pick<Store, 'hostById'>, instance: Instance): Promise<void> {
  const host = await hostWithout(store, instance, attachFacet);
  if (host === null) return;
  throw new BerthError('unsupported', `Nobody can attach to the containers of host ${host.name}.`, {
    remedy:
      'Its agent is older than this API: update it, or follow what the container prints: GET …/logs?follow=true.',
  });
}

/** What no VM of its host has. @throws BerthError unsupported */
export async function refuseWithoutDisplay(
  store: Pick<Store, 'hostById'>,
  instance: Instance,
): Promise<void> {
  const host = await hostWithout(store, instance, 'display');
  if (host === null) return;
  throw new BerthError('unsupported', `The VMs of host ${host.name} have no display.`, {
    remedy:
      'Its agent is older than displays, or its QEMU has no VNC; GET /v1/hosts shows the facets of each host.',
  });
}

/** A screen that the instance's spec does not have. @param path of the field that says which @throws BerthError unsupported */
export function refuseHead({ name, spec }: Instance, head: number, path: string): void {
  const displays = displaysOf(spec);
  if (head < displays) return;
  const has = displays === 1 ? 'one display' : `${displays} displays`;
  const message = `${name} has ${has}, counted from 0, and none of number ${head}.`;
  const remedy = `Ask for ${displays === 1 ? '0' : `0 to ${displays - 1}`}, or set spec.displays and restart the instance.`;
  throw new BerthError('unsupported', message, {
    remedy,
    errors: [{ path, code: 'unsupported', message, remedy }],
  });
}

const TicketQuery = z.strictObject({
  ticket: z.string().max(128).optional().describe('From POST …/console, …/display, …/attach or …/exec'),
});

/** Where tickets are spent. An upgrade never comes here: see terminal-door.ts. */
@Controller('v1/console')
export class TerminalDoorController {
  @Get()
  @Action('public', {
    summary:
      'Spend a ticket: upgrade to a WebSocket that carries the terminal or display (docs/api-streams.md)',
    answers: {
      101: { description: 'The connection carries the terminal from here on' },
      426: { description: 'Always, without an upgrade' },
    },
  })
  refuse(
    @Query({ schema: TicketQuery }) _query: z.infer<typeof TicketQuery>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): never {
    void reply.header('upgrade', 'websocket');
    throw new BerthError('upgradeRequired', 'This address speaks WebSocket.', {
      remedy: 'Upgrade the connection (RFC 6455); docs/api-streams.md tells how.',
    });
  }
}
