import { SecurityGroup, SecurityGroupPut } from '@berth/model';
import { Body, Controller, Delete, Get, Headers, Inject, Param, Put, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import type { z } from 'zod';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { ifMatchOf, setEtag } from './etag.js';
import { Asking, type Caller } from './gate.js';
import { addressName, found, projectOf } from './project-scope.js';
import { listOf } from './query.js';

const SecurityGroups = listOf(SecurityGroup);
const etag = { etag: 'resourceVersion' };

/** What nics of a project's instances may be connected to. */
@Controller('v1/projects/:project/securityGroups')
export class SecurityGroupsController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get()
  @Action('securityGroups.list', {
    summary: 'List security groups',
    answers: { 200: { description: 'All of the project', schema: SecurityGroups } },
  })
  async list(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
  ): Promise<z.infer<typeof SecurityGroups>> {
    const projectId = await projectOf(this.deps.store, principal, project);
    return { items: [...(await this.deps.store.securityGroupList(projectId))], nextCursor: null };
  }

  @Get(':name')
  @Action('securityGroups.get', {
    summary: 'Get a security group',
    answers: { 200: { description: 'The group', schema: SecurityGroup, headers: etag } },
  })
  async get(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<SecurityGroup> {
    const projectId = await projectOf(this.deps.store, principal, project);
    const stored = await this.deps.store.securityGroupGet(projectId, addressName('security group', name));
    const group = found('security group', name, stored);
    setEtag(reply, group);
    return group;
  }

  @Put(':name')
  @Action('securityGroups.put', {
    summary: 'Make a security group, or replace its rules; what is connected stays so',
    answers: { 200: { description: 'The group; hosts follow', schema: SecurityGroup, headers: etag } },
    ifMatch: true,
  })
  async put(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Body({ schema: SecurityGroupPut }) body: SecurityGroupPut,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<SecurityGroup> {
    const target = await this.target(asking, project, name, ifMatch);
    const { group, hosts } = await this.deps.store.securityGroupPut(asking.context, { ...target, ...body });
    this.deps.wake.ledger();
    for (const host of hosts) this.deps.wake.dispatch(host);
    setEtag(reply, group);
    return group;
  }

  @Delete(':name')
  @Action('securityGroups.delete', {
    summary: 'Delete a security group that nothing names',
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
    await this.deps.store.securityGroupDelete(asking.context, target);
    this.deps.wake.ledger();
  }

  private async target(asking: Caller, project: string, name: string, ifMatch: string | undefined) {
    const projectId = await projectOf(this.deps.store, asking.principal, project);
    return { projectId, name: addressName('security group', name), ...ifMatchOf(ifMatch) };
  }
}
