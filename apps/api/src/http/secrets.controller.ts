import { Secret, SecretPut } from '@berth/model';
import { Body, Controller, Delete, Get, Headers, Inject, Param, Put, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import type { z } from 'zod';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { ifMatchOf, setEtag } from './etag.js';
import { Asking, type Caller } from './gate.js';
import { addressName, found, projectOf } from './project-scope.js';
import { listOf } from './query.js';
import { secretKeep } from '../secrets/secret-values.js';

const Secrets = listOf(Secret);
const etag = { etag: 'resourceVersion' };

/** Secrets of a project. No answer has a value. */
@Controller('v1/projects/:project/secrets')
export class SecretsController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get()
  @Action('secrets.list', {
    summary: 'List secrets',
    answers: { 200: { description: 'All of the project, without their values', schema: Secrets } },
  })
  async list(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
  ): Promise<z.infer<typeof Secrets>> {
    const projectId = await projectOf(this.deps.store, principal, project);
    return { items: [...(await this.deps.store.secretList(projectId))], nextCursor: null };
  }

  @Get(':name')
  @Action('secrets.get', {
    summary: 'Get what is known of a secret, without its value',
    answers: { 200: { description: 'The secret, without its value', schema: Secret, headers: etag } },
  })
  async get(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Secret> {
    const projectId = await projectOf(this.deps.store, principal, project);
    const stored = await this.deps.store.secretGet(projectId, addressName('secret', name));
    const secret = found('secret', name, stored);
    setEtag(reply, secret);
    return secret;
  }

  @Put(':name')
  @Action('secrets.put', {
    summary: 'Make a secret, or give it a new value, which instances that run get as files in /run/secrets',
    answers: { 200: { description: 'Kept sealed; hosts follow', schema: Secret, headers: etag } },
    ifMatch: true,
  })
  async put(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Body({ schema: SecretPut }) body: SecretPut,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Secret> {
    const target = await this.target(asking, project, name, ifMatch);
    const { secret, hosts } = await secretKeep(this.deps, asking.context, target, body);
    this.deps.wake.ledger();
    for (const host of hosts) this.deps.wake.dispatch(host);
    setEtag(reply, secret);
    return secret;
  }

  @Delete(':name')
  @Action('secrets.delete', {
    summary: 'Delete a secret that no instance uses',
    answers: { 204: { description: 'Gone' } },
    ifMatch: true,
  })
  async delete(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Headers('if-match') ifMatch: string | undefined,
  ): Promise<void> {
    const target = await this.target(asking, project, name, ifMatch);
    await this.deps.store.secretDelete(asking.context, target);
    this.deps.wake.ledger();
  }

  private async target(asking: Caller, project: string, name: string, ifMatch: string | undefined) {
    const projectId = await projectOf(this.deps.store, asking.principal, project);
    return { projectId, name: addressName('secret', name), ...ifMatchOf(ifMatch) };
  }
}
