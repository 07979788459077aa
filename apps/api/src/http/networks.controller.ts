import { Network, NetworkCreate } from '@berth/model';
import { Body, Controller, Delete, Get, Headers, Inject, Param, Post, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import type { z } from 'zod';
import { administersCluster } from '../access/principal.js';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { ifMatchOf, setEtag } from './etag.js';
import { Asking, type Caller } from './gate.js';
import { answering } from './idempotency.js';
import { addressName, found, projectOf } from './project-scope.js';
import { listOf } from './query.js';

const Networks = listOf(Network);
const etag = { etag: 'resourceVersion' };

@Controller('v1/projects/:project/networks')
export class NetworksController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Post()
  @Action('networks.create', {
    summary: 'Create a network; a host has it while it has an instance on it',
    answers: {
      201: {
        description: 'The network',
        schema: Network,
        headers: { location: 'Address of the network', ...etag },
      },
    },
  })
  async create(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Body({ schema: NetworkCreate }) body: NetworkCreate,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Network> {
    const projectId = await projectOf(this.deps.store, asking.principal, project);
    const answer = (network: Network): Network => {
      void reply.header('location', `/v1/projects/${project}/networks/${network.name}`);
      setEtag(reply, network);
      return network;
    };
    const context = answering(reply, asking.context, answer);
    const anyRange = administersCluster(asking.principal);
    const made = await this.deps.store.networkCreate(context, { projectId, body, anyRange });
    this.deps.wake.ledger();
    return answer(made);
  }

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
    answers: { 200: { description: 'The network', schema: Network, headers: etag } },
  })
  async get(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Network> {
    const projectId = await projectOf(this.deps.store, principal, project);
    const stored = await this.deps.store.networkGet(projectId, addressName('network', name));
    const network = found('network', name, stored);
    setEtag(reply, network);
    return network;
  }

  @Delete(':name')
  @Action('networks.delete', {
    summary: 'Delete a network on which no instance has a nic',
    answers: { 204: { description: 'Gone' } },
    ifMatch: true,
  })
  async delete(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Headers('if-match') ifMatch: string | undefined,
  ): Promise<void> {
    const projectId = await projectOf(this.deps.store, asking.principal, project);
    const target = { projectId, name: addressName('network', name), ...ifMatchOf(ifMatch) };
    await this.deps.store.networkDelete(asking.context, target);
    this.deps.wake.ledger();
  }
}
