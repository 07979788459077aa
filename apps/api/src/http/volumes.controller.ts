import {
  BerthError,
  Volume,
  VolumeClone,
  VolumeCreate,
  VolumeExport,
  VolumeUpdate,
  type ExportedFile,
  type HostId,
} from '@berth/model';
import {
  Body,
  Controller,
  Delete,
  Get,
  Headers,
  Inject,
  Param,
  Patch,
  Post,
  Query,
  Res,
} from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import type { z } from 'zod';
import { missing } from '../access/principal.js';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { ifMatchOf, setEtag } from './etag.js';
import { fileAnswers, fileHeaders, filePart, fileSend } from './file-answer.js';
import { Asking, type Caller } from './gate.js';
import { answering } from './idempotency.js';
import { found, projectOf } from './project-scope.js';
import { VolumeAccepted, volumeAccepted } from './operation-wait.js';
import { listOf, Wait } from './query.js';

const Volumes = listOf(Volume);
const etag = { etag: 'resourceVersion' };
/** A disk is copied at the pace of its host. */
const copySeconds = 4 * 3_600;

/** Disks of a project. `:volume` is a volume's name, or its id. */
@Controller('v1/projects/:project/volumes')
export class VolumesController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Post()
  @Action('volumes.create', {
    summary:
      'Create a data volume, empty or as a disk of a snapshot; its host makes it when it is first attached',
    answers: {
      201: {
        description: 'The volume',
        schema: Volume,
        headers: { location: 'Address of the volume', ...etag },
      },
    },
  })
  async create(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Body({ schema: VolumeCreate }) body: VolumeCreate,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Volume> {
    const projectId = await projectOf(this.deps.store, asking.principal, project);
    const answer = (volume: Volume): Volume => {
      void reply.header('location', `/v1/projects/${project}/volumes/${volume.name}`);
      setEtag(reply, volume);
      return volume;
    };
    const context = answering(reply, asking.context, answer);
    const made = await this.deps.store.volumeCreate(context, { projectId, body });
    this.deps.wake.ledger();
    return answer(made);
  }

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

  @Get(':volume')
  @Action('volumes.get', {
    summary: 'Get a volume by its name or id',
    answers: { 200: { description: 'The volume', schema: Volume, headers: etag } },
  })
  async get(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
    @Param('volume') ref: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Volume> {
    const projectId = await projectOf(this.deps.store, principal, project);
    const volume = found('volume', ref, await this.deps.store.volumeGet(projectId, volumeRef(ref)));
    setEtag(reply, volume);
    return volume;
  }

  @Patch(':volume')
  @Action('volumes.update', {
    summary: 'Grow a data volume or change its limits, also while a guest uses it',
    answers: { 200: { description: 'The volume; its host follows', schema: Volume, headers: etag } },
    ifMatch: true,
  })
  async update(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('volume') ref: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Body({ schema: VolumeUpdate }) update: VolumeUpdate,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Volume> {
    const target = await this.target(asking, project, ref, ifMatch);
    const { volume, hosts } = await this.deps.store.volumeUpdate(asking.context, { ...target, update });
    this.deps.wake.ledger();
    for (const host of hosts) this.deps.wake.dispatch(host);
    setEtag(reply, volume);
    return volume;
  }

  @Post(':volume/actions/clone')
  @Action('volumes.create', {
    summary:
      'Create a data volume that holds what this one holds now, while nothing writes it; independent of it afterwards',
    answers: {
      202: {
        description: 'Its host copies it; the operation tells how far it is',
        schema: VolumeAccepted,
        headers: { location: 'Address of the operation', etag: 'resourceVersion of the new volume' },
      },
    },
    ifMatch: true,
  })
  async clone(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('volume') ref: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Query({ schema: Wait }) { wait }: Wait,
    @Body({ schema: VolumeClone }) clone: VolumeClone,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<VolumeAccepted> {
    const target = await this.target(asking, project, ref, ifMatch);
    const request = { ...target, clone, deadlineSeconds: copySeconds };
    const { operation, hosts } = await this.deps.store.volumeClone(asking.context, request);
    this.deps.wake.ledger();
    for (const host of hosts) this.deps.wake.dispatch(host);
    return volumeAccepted(this.deps, reply, operation, { seconds: wait ?? 0, gone: asking.gone });
  }

  @Post(':volume/actions/export')
  @Action('volumes.export', {
    summary:
      'Make a file of what a data volume holds now, while nothing writes it, or held in a snapshot; it is downloaded as a volume of kind export',
    answers: {
      202: {
        description: 'Its host makes it; the operation tells how far it is',
        schema: VolumeAccepted,
        headers: { location: 'Address of the operation', etag: 'resourceVersion of the export' },
      },
    },
    ifMatch: true,
  })
  async export(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('volume') ref: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Query({ schema: Wait }) { wait }: Wait,
    @Body({ schema: VolumeExport }) wanted: VolumeExport,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<VolumeAccepted> {
    const target = await this.target(asking, project, ref, ifMatch);
    const request = { ...target, wanted, deadlineSeconds: copySeconds };
    const { operation, hosts } = await this.deps.store.volumeExport(asking.context, request);
    this.deps.wake.ledger();
    for (const host of hosts) this.deps.wake.dispatch(host);
    return volumeAccepted(this.deps, reply, operation, { seconds: wait ?? 0, gone: asking.gone });
  }

  @Get(':volume/file')
  @Action('volumes.export', {
    summary: 'Download the file of an export, or go on with it where it broke off',
    answers: fileAnswers('SHA-256 of the whole file, hexadecimal'),
    headers: fileHeaders,
  })
  async file(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('volume') ref: string,
    @Headers('range') range: string | undefined,
    @Headers('if-range') ifRange: string | undefined,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const projectId = await projectOf(this.deps.store, asking.principal, project);
    const volume = found('volume', ref, await this.deps.store.volumeGet(projectId, volumeRef(ref)));
    const { hostId, sizeBytes, sha256 } = exportedOf(volume);
    const { id, name } = volume;
    const file = { name: `${name}.${volume.format}`, sizeBytes, tag: sha256 };
    const part = filePart(reply, file, { range, ifRange });
    const { first, last } = part;
    const bytes = await this.deps.files.exported(hostId, id, first, asking.gone);
    await this.deps.store.eventInsert(asking.context, {
      class: 'audit',
      type: 'volume.downloaded',
      projectId,
      object: { kind: 'volume', id, name },
      data: { first, last, sizeBytes },
    });
    this.deps.wake.ledger();
    await fileSend(reply, file, part, bytes);
  }

  @Delete(':volume')
  @Action('volumes.delete', {
    summary: 'Delete a data volume with all it holds',
    answers: {
      202: { description: 'Its host removes it; it is gone when it is not found any more', schema: Volume },
      204: { description: 'Gone' },
    },
    ifMatch: true,
  })
  async delete(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('volume') ref: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Volume | undefined> {
    const target = await this.target(asking, project, ref, ifMatch);
    const { volume, hosts } = await this.deps.store.volumeDelete(asking.context, target);
    this.deps.wake.ledger();
    this.deps.wake.scheduler();
    for (const host of hosts) this.deps.wake.dispatch(host);
    void reply.status(volume === null ? 204 : 202);
    return volume ?? undefined;
  }

  private async target(asking: Caller, project: string, ref: string, ifMatch: string | undefined) {
    const projectId = await projectOf(this.deps.store, asking.principal, project);
    return { projectId, ref: volumeRef(ref), ...ifMatchOf(ifMatch) };
  }
}

/** The file of an export, and where it is. @throws BerthError conflict (it is no export), stateConflict (not whole, or going) */
function exportedOf(v: Volume): ExportedFile & { readonly hostId: HostId } {
  if (v.export === null || v.host === null)
    throw new BerthError('conflict', `volume "${v.name}" is a disk, and no file to be downloaded`, {
      remedy: 'export it: POST …/volumes/{volume}/actions/export, or berth volume export',
    });
  if (v.deletingSince !== null)
    throw new BerthError('stateConflict', `export "${v.name}" is being deleted`, {
      remedy: 'export the volume again',
    });
  if (v.export.file === null)
    throw new BerthError('stateConflict', `export "${v.name}" is not whole yet`, {
      remedy: `wait until operation ${v.export.operationId} has ended`,
    });
  return { hostId: v.host.id, ...v.export.file };
}

/** What no volume can be called is not looked up. A name with a dot is one that the system made. @throws notFound */
function volumeRef(ref: string): string {
  if (!/^[a-z0-9][-a-z0-9.]{0,79}$/.test(ref)) throw missing('volume', ref);
  return ref;
}
