import { Network } from '@berth/model';
import { Controller, Get, Inject, Param } from '@nestjs/common';
import type { z } from 'zod';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { Asking, type Caller } from './gate.js';
import { addressName, found, projectOf } from './project-scope.js';
import { listOf } from './query.js';

const Networks = listOf(Network);

@Controller('v1/projects/:project/networks')
export class NetworksController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get()
  @Action('networks.list', {
    summary: 'List networks',
    answers: { 200: { description: 'All of the project', schema: Networks } },
  })
  async list(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
  ): Promise<z.infer<typeof Networks>> {
    const projectId = await projectOf(this.deps.store, principal, project);
    return { items: [...(await this.deps.store.networkList(projectId))], nextCursor: null };
  }

  @Get(':name')
  @Action('networks.get', {
    summary: 'Get a network',
    answers: { 200: { description: 'The network', schema: Network } },
  })
  async get(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
  ): Promise<Network> {
    const projectId = await projectOf(this.deps.store, principal, project);
    return found('network', name, await this.deps.store.networkGet(projectId, addressName('network', name)));
  }
}
