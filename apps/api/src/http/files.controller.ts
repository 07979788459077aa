import { Readable } from 'node:stream';
import { BerthError, FileMode, GuestPath, type Instance, type ProjectId } from '@berth/model';
import { Controller, Get, Inject, Param, Put, Query, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { Asking, type Caller } from './gate.js';
import { hostWithout, kindOf, refuseGuest, refusePaused, refuseStopped } from './guest-refusal.js';
import { instanceOf } from './project-scope.js';

const ReadQuery = z.strictObject({ path: GuestPath.describe('Absolute path in the instance') });
const WriteQuery = z.strictObject({
  ...ReadQuery.shape,
  mode: FileMode.default('0600').describe('Its permissions, octal'),
});
const FileWritten = z
  .strictObject({ path: GuestPath, bytes: z.int().describe('How many were written') })
  .meta({ id: 'FileWritten' });
type FileWritten = z.infer<typeof FileWritten>;

/** One file of what runs: of a VM by the agent in its guest, of all else by its host; with the rights of its root. */
@Controller('v1/projects/:project/instances/:name/files')
export class FilesController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get()
  @Action('instances.fileRead', {
    summary: 'Read a file of a running instance; of a VM by its guest agent',
    answers: {
      200: {
        description: 'Its bytes; an answer that breaks off is not whole',
        stream: 'application/octet-stream',
        headers: { 'berth-file-size': 'How many there are, where the guest says so' },
      },
    },
  })
  async read(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Query({ schema: ReadQuery }) { path }: z.infer<typeof ReadQuery>,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const { instance, projectId } = await this.instance(asking, project, name);
    const { sizeBytes, bytes } = await this.deps.files.read(instance, path, asking.gone);
    const stream = Readable.from(bytes, { objectMode: false });
    await this.told(asking, projectId, instance, 'file.read', { path });
    void reply.header('content-type', 'application/octet-stream').header('cache-control', 'no-store');
    if (sizeBytes !== null) void reply.header('berth-file-size', String(sizeBytes));
    await reply.send(stream);
  }

  @Put()
  @Action('instances.fileWrite', {
    summary:
      'Write a file of a running instance, of a VM by its guest agent; the body is the file, which is there when it is whole',
    upload: 'application/octet-stream',
    answers: { 200: { description: 'It is there', schema: FileWritten } },
  })
  async write(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Query({ schema: WriteQuery }) query: z.infer<typeof WriteQuery>,
    @Req() request: FastifyRequest,
  ): Promise<FileWritten> {
    const { instance, projectId } = await this.instance(asking, project, name);
    if (!(request.body instanceof Readable))
      throw new BerthError('unsupportedMediaType', 'The body must be the file itself.', {
        remedy: 'Send it with Content-Type: application/octet-stream.',
      });
    const bytes = await this.deps.files.write(instance, query, request.body, asking.gone);
    await this.told(asking, projectId, instance, 'file.written', { ...query, bytes });
    return { path: query.path, bytes };
  }

  private async told(
    asking: Caller,
    projectId: ProjectId,
    { id, name }: Instance,
    type: string,
    data: Record<string, unknown>,
  ): Promise<void> {
    const object = { kind: 'instance', id, name } as const;
    await this.deps.store.eventInsert(asking.context, { class: 'audit', type, projectId, object, data });
    this.deps.wake.ledger();
  }

  /** @throws BerthError notFound, unsupported, stateConflict (does not run, is paused, no agent) */
  private async instance(
    asking: Caller,
    project: string,
    name: string,
  ): Promise<{ readonly instance: Instance; readonly projectId: ProjectId }> {
    const { instance, projectId } = await instanceOf(this.deps.store, asking.principal, project, name);
    if (instance.spec.isolation === 'vm') refuseGuest(instance);
    else {
      refuseStopped(instance);
      const host = await hostWithout(this.deps.store, instance, 'files');
      if (host !== null)
        throw new BerthError('unsupported', `Host ${host.name} copies no files of ${kindOf(instance)}.`, {
          remedy: `Its agent is older than this API: update it, or copy by a program: berth exec -i ${name} -- sh -c 'cat >FILE' <FILE`,
        });
    }
    refusePaused(instance);
    return { instance, projectId };
  }
}
