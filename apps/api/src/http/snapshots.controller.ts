import { Snapshot, SnapshotCreate } from '@berth/model';
import { Body, Controller, Delete, Get, Headers, Inject, Param, Post, Query, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import type { z } from 'zod';
import * as requests from '../instances/snapshots.js';
import type { InstanceChange } from '../store/store.js';
import { Action, type Answer } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { ifMatchOf, setEtag } from './etag.js';
import { Asking, type Caller } from './gate.js';
import { Accepted, accepted } from './operation-wait.js';
import { addressName, found, instanceOf } from './project-scope.js';
import { listOf, Wait } from './query.js';

const Snapshots = listOf(Snapshot);

const asked: Readonly<Record<number, Answer>> = {
  202: {
    description: 'Its host does it; the operation tells when',
    schema: Accepted,
    headers: { location: 'Address of the operation', etag: 'resourceVersion of the instance' },
  },
};

/** The disks of a virtual machine as they were at one moment. */
@Controller('v1/projects/:project/instances/:name/snapshots')
export class SnapshotsController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Post()
  @Action('snapshots.create', {
    summary:
      'Take a snapshot of all disks of a VM, which may run; with its file systems frozen where its guest agent answers, or with its memory',
    answers: asked,
  })
  async create(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Query({ schema: Wait }) query: Wait,
    @Body({ schema: SnapshotCreate }) body: SnapshotCreate,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Accepted> {
    const { instance, projectId } = await instanceOf(this.deps.store, asking.principal, project, name);
    const target = { projectId, instance: name, name: body.name, memory: body.memory };
    const change = await requests.snapshotCreate(this.deps, asking.context, instance, target);
    return this.answer(asking, reply, query, change);
  }

  @Get()
  @Action('snapshots.list', {
    summary: 'List the snapshots of an instance, the oldest first',
    answers: { 200: { description: 'All of the instance', schema: Snapshots } },
  })
  async list(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
  ): Promise<z.infer<typeof Snapshots>> {
    const { projectId } = await instanceOf(this.deps.store, principal, project, name);
    return { items: [...(await this.deps.store.snapshotList(projectId, name))], nextCursor: null };
  }

  @Get(':snapshot')
  @Action('snapshots.get', {
    summary: 'Get a snapshot, what can be relied on in it and what that was concluded from',
    answers: {
      200: { description: 'The snapshot', schema: Snapshot, headers: { etag: 'resourceVersion' } },
    },
  })
  async get(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Param('snapshot') ref: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Snapshot> {
    const { projectId } = await instanceOf(this.deps.store, principal, project, name);
    const stored = await this.deps.store.snapshotGet(projectId, name, addressName('snapshot', ref));
    const snapshot = found('snapshot', ref, stored);
    setEtag(reply, snapshot);
    return snapshot;
  }

  @Post(':snapshot/actions/revert')
  @Action('snapshots.revert', {
    summary:
      'Bring the disks of a stopped VM back as they were; what it wrote since is lost. With memory it is started, and goes on from there',
    answers: asked,
    ifMatch: true,
  })
  async revert(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Param('snapshot') ref: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Query({ schema: Wait }) query: Wait,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Accepted> {
    const target = await this.target(asking, project, name, ref, ifMatch);
    return this.answer(
      asking,
      reply,
      query,
      await requests.snapshotRevert(this.deps, asking.context, target),
    );
  }

  @Delete(':snapshot')
  @Action('snapshots.delete', {
    summary: 'Delete a snapshot; the disks stay as they are, and the room that only it held is free again',
    answers: asked,
    ifMatch: true,
  })
  async delete(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Param('snapshot') ref: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Query({ schema: Wait }) query: Wait,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Accepted> {
    const target = await this.target(asking, project, name, ref, ifMatch);
    return this.answer(
      asking,
      reply,
      query,
      await requests.snapshotDelete(this.deps, asking.context, target),
    );
  }

  private async target(
    asking: Caller,
    project: string,
    instance: string,
    ref: string,
    ifMatch: string | undefined,
  ) {
    const { projectId } = await instanceOf(this.deps.store, asking.principal, project, instance);
    return { projectId, instance, name: addressName('snapshot', ref), ...ifMatchOf(ifMatch) };
  }

  private answer(
    asking: Caller,
    reply: FastifyReply,
    { wait }: Wait,
    change: InstanceChange,
  ): Promise<Accepted> {
    return accepted(this.deps, reply, change, { seconds: wait ?? 0, gone: asking.gone });
  }
}
