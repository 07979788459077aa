import { Volume, VolumeId } from '@berth/model';
import { Controller, Get, Inject, Param } from '@nestjs/common';
import type { z } from 'zod';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { Asking, type Caller } from './gate.js';
import { addressId, found, projectOf } from './project-scope.js';
import { listOf } from './query.js';

const Volumes = listOf(Volume);

@Controller('v1/projects/:project/volumes')
export class VolumesController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get()
  @Action('volumes.list', {
    summary: 'List volumes; root disks are volumes',
    answers: { 200: { description: 'All of the project', schema: Volumes } },
  })
  async list(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
  ): Promise<z.infer<typeof Volumes>> {
    const projectId = await projectOf(this.deps.store, principal, project);
    return { items: [...(await this.deps.store.volumeList(projectId))], nextCursor: null };
  }

  @Get(':id')
  @Action('volumes.get', {
    summary: 'Get a volume',
    answers: { 200: { description: 'The volume', schema: Volume } },
  })
  async get(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
    @Param('id') id: string,
  ): Promise<Volume> {
    const projectId = await projectOf(this.deps.store, principal, project);
    const volumeId = addressId('volume', VolumeId, id);
    return found('volume', id, await this.deps.store.volumeGet(projectId, volumeId));
  }
}
