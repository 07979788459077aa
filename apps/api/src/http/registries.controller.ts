import { RegistryCredential, RegistryCredentialPut } from '@berth/model';
import { Body, Controller, Delete, Get, Headers, Inject, Param, Put, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import type { z } from 'zod';
import { missing } from '../access/principal.js';
import { registryCredentialKeep, registryOf } from '../images/registry-credentials.js';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { ifMatchOf, setEtag } from './etag.js';
import { Asking, type Caller } from './gate.js';
import { found, projectOf } from './project-scope.js';
import { listOf } from './query.js';

const RegistryCredentials = listOf(RegistryCredential);
const etag = { etag: 'resourceVersion' };

/** What a project signs in with at registries. No answer has a secret. */
@Controller('v1/projects/:project/registries')
export class RegistriesController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get()
  @Action('registries.list', {
    summary: 'List the registries that the project signs in at',
    answers: {
      200: { description: 'All of the project, without their secrets', schema: RegistryCredentials },
    },
  })
  async list(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
  ): Promise<z.infer<typeof RegistryCredentials>> {
    const projectId = await projectOf(this.deps.store, principal, project);
    return { items: [...(await this.deps.store.registryCredentialList(projectId))], nextCursor: null };
  }

  @Get(':host')
  @Action('registries.get', {
    summary: 'Get what the project signs in with at a registry, without the secret',
    answers: { 200: { description: 'Who signs in', schema: RegistryCredential, headers: etag } },
  })
  async get(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
    @Param('host') host: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<RegistryCredential> {
    const projectId = await projectOf(this.deps.store, principal, project);
    const stored = await this.deps.store.registryCredentialGet(projectId, namedHost(host));
    const credential = found('registry', host, stored);
    setEtag(reply, credential);
    return credential;
  }

  @Put(':host')
  @Action('registries.put', {
    summary: 'Keep what the project signs in with at a registry (host[:port]), in place of what was kept',
    answers: {
      200: { description: 'Kept sealed; not tried yet', schema: RegistryCredential, headers: etag },
    },
    ifMatch: true,
  })
  async put(
    @Asking() { context, principal }: Caller,
    @Param('project') project: string,
    @Param('host') host: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Body({ schema: RegistryCredentialPut }) body: RegistryCredentialPut,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<RegistryCredential> {
    const projectId = await projectOf(this.deps.store, principal, project);
    const target = { projectId, host, ...ifMatchOf(ifMatch) };
    const credential = await registryCredentialKeep(this.deps, context, target, body);
    this.deps.wake.ledger();
    setEtag(reply, credential);
    return credential;
  }

  @Delete(':host')
  @Action('registries.delete', {
    summary: 'Forget what the project signs in with at a registry',
    answers: { 204: { description: 'Gone' } },
    ifMatch: true,
  })
  async delete(
    @Asking() { context, principal }: Caller,
    @Param('project') project: string,
    @Param('host') host: string,
    @Headers('if-match') ifMatch: string | undefined,
  ): Promise<void> {
    const projectId = await projectOf(this.deps.store, principal, project);
    const target = { projectId, host: namedHost(host), ...ifMatchOf(ifMatch) };
    await this.deps.store.registryCredentialDelete(context, target);
    this.deps.wake.ledger();
  }
}

/** As it is kept. @throws notFound for what no registry can be called */
function namedHost(text: string): string {
  const host = registryOf(text);
  if (host === null) throw missing('registry', text);
  return host;
}
