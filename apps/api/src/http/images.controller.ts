import { Readable } from 'node:stream';
import {
  BerthError,
  Image,
  ImageKind,
  ImageTag,
  Name,
  Operation,
  RegistryPassword,
  RegistryUsername,
} from '@berth/model';
import { Body, Controller, Delete, Get, Headers, Inject, Param, Post, Query, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { imageFile } from '../images/image-file.js';
import { imageImport } from '../images/import.js';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { setEtag } from './etag.js';
import { fileAnswers, fileHeaders, filePart, fileSend } from './file-answer.js';
import { Asking, type Caller } from './gate.js';
import { answering } from './idempotency.js';
import { addressName, found, projectOf } from './project-scope.js';
import { imageAccepted, type ImageAccepted, imageRecorded } from './operation-wait.js';
import { listOf, Page, Wait } from './query.js';

const ImportQuery = z.strictObject({
  name: Name.describe('Name of the new image'),
  kind: ImageKind.describe(
    'oci: an OCI layout or docker-archive tar, may be gzipped; disk: a qcow2 or raw file; iso: an ISO 9660 or UDF file, for a CD-ROM drive',
  ),
});
const Imported = z.strictObject({ operation: Operation, image: Image }).meta({ id: 'Imported' });
const RegistrySource = z
  .strictObject({
    reference: z
      .string()
      .min(1)
      .max(512)
      .describe('host[:port]/repository, with :tag (else latest) or @sha256:digest; the digest decides'),
    username: RegistryUsername.optional().describe('In place of what the project keeps for the registry'),
    password: RegistryPassword.optional().describe(
      'Or a token that stands for one. Kept sealed until the import is over, and shown nowhere',
    ),
  })
  .meta({ id: 'RegistrySource' });
const ImagePush = z
  .strictObject({
    ...RegistrySource.shape,
    reference: z.string().min(1).max(512).describe('host[:port]/repository, with :tag (else latest)'),
  })
  .superRefine(({ username, password }, ctx) => {
    if ((username === undefined) === (password === undefined)) return;
    const path = [username === undefined ? 'username' : 'password'];
    ctx.addIssue({ code: 'custom', path, message: 'must be given too' });
  })
  .meta({ id: 'ImagePush' });
const ImageImport = z
  .strictObject({
    name: Name.describe('Name of the new image'),
    kind: ImageKind.describe('oci, where it comes from a registry'),
    url: z
      .string()
      .min(1)
      .max(8192)
      .optional()
      .describe(
        'http or https, without user name and password. What is in its query is kept sealed until the import is over, and shown nowhere',
      ),
    sha256: z
      .string()
      .regex(/^[0-9a-f]{64}$/, 'must be 64 hexadecimal digits, in lower case')
      .optional()
      .describe('Of the file at url, as it is downloaded'),
    registry: RegistrySource.optional().describe('Instead of url: an image in a registry'),
  })
  .superRefine(({ kind, url, sha256, registry }, ctx) => {
    const say = (path: string[], message: string): void => ctx.addIssue({ code: 'custom', path, message });
    if ((url === undefined) === (registry === undefined))
      say(['url'], 'must be given, or else registry, and not both');
    if (registry === undefined) return;
    if (kind !== 'oci') say(['kind'], 'must be oci: registries have images of containers');
    if (sha256 !== undefined)
      say(['sha256'], 'is for files at a url: a reference ends with @sha256:digest to name the content');
    if ((registry.username === undefined) !== (registry.password === undefined))
      say(['registry', registry.username === undefined ? 'username' : 'password'], 'must be given too');
  })
  .meta({ id: 'ImageImport' });
const Images = listOf(Image);

@Controller('v1/projects/:project/images')
export class ImagesController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Post()
  @Action('images.import', {
    summary: 'Import an image; the body is the file',
    upload: 'application/octet-stream',
    answers: {
      201: { description: 'Verified and stored', schema: Imported, headers: { location: 'The image' } },
    },
  })
  async create(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Query({ schema: ImportQuery }) query: z.infer<typeof ImportQuery>,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<z.infer<typeof Imported>> {
    const projectId = await projectOf(this.deps.store, asking.principal, project);
    if (!(request.body instanceof Readable))
      throw new BerthError('unsupportedMediaType', 'The body must be the image file itself.', {
        remedy: 'Send it with Content-Type: application/octet-stream.',
      });
    const upload = { projectId, ...query };
    const answer = (imported: z.infer<typeof Imported>): z.infer<typeof Imported> => {
      void reply.header('location', `/v1/projects/${project}/images/${imported.image.name}`);
      setEtag(reply, imported.image);
      return imported;
    };
    const context = answering(reply, asking.context, answer);
    return answer(await imageImport(this.deps, context, upload, request.body));
  }

  @Post('import')
  @Action('images.import', {
    summary:
      'Import an image from an address or a registry; redirects and private addresses only where the project allows them',
    answers: imageRecorded,
  })
  async importRemote(
    @Asking() { context, gone, principal }: Caller,
    @Param('project') project: string,
    @Body({ schema: ImageImport }) body: z.infer<typeof ImageImport>,
    @Query({ schema: Wait }) query: Wait,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<ImageAccepted> {
    await projectOf(this.deps.store, principal, project);
    const operation = await this.deps.imports.begin(context, project, body);
    this.deps.wake.ledger();
    return imageAccepted(this.deps, reply, operation, { seconds: query.wait ?? 0, gone });
  }

  @Post(':name/actions/push')
  @Action('images.push', {
    summary:
      'Push an image of containers to a registry, under a tag; what the registry has already is not sent',
    answers: imageRecorded,
  })
  async push(
    @Asking() { context, gone, principal }: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Body({ schema: ImagePush }) body: z.infer<typeof ImagePush>,
    @Query({ schema: Wait }) query: Wait,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<ImageAccepted> {
    const projectId = await projectOf(this.deps.store, principal, project);
    const image = found('image', name, await this.deps.store.imageGet(projectId, addressName('image', name)));
    if (image.kind !== 'oci')
      throw new BerthError('unsupported', `${name} is a file, and registries have images of containers.`, {
        remedy: 'Name an image of kind oci.',
      });
    const operation = await this.deps.imports.push(context, project, image, body);
    this.deps.wake.ledger();
    return imageAccepted(this.deps, reply, operation, { seconds: query.wait ?? 0, gone });
  }

  @Post(':name/actions/tag')
  @Action('images.tag', {
    summary: 'Give an image another name; each is deleted by itself, and the content is kept once',
    answers: {
      201: {
        description: 'The image under its new name',
        schema: Image,
        headers: { location: 'Address of the image', etag: 'resourceVersion' },
      },
    },
  })
  async tag(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Body({ schema: ImageTag }) body: ImageTag,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Image> {
    const projectId = await projectOf(this.deps.store, asking.principal, project);
    const answer = (made: Image): Image => {
      void reply.header('location', `/v1/projects/${project}/images/${made.name}`);
      setEtag(reply, made);
      return made;
    };
    const context = answering(reply, asking.context, answer);
    const made = await this.deps.store.imageTag(context, projectId, addressName('image', name), body.name);
    this.deps.wake.ledger();
    return answer(made);
  }

  @Get()
  @Action('images.list', {
    summary: 'List images',
    answers: { 200: { description: 'One page, by name', schema: Images } },
  })
  async list(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
    @Query({ schema: Page }) { limit, cursor }: z.infer<typeof Page>,
  ): Promise<z.infer<typeof Images>> {
    const projectId = await projectOf(this.deps.store, principal, project);
    const page = await this.deps.store.imageList(
      projectId,
      cursor === undefined ? { limit } : { limit, cursor },
    );
    return { items: [...page.items], nextCursor: page.nextCursor };
  }

  @Get(':name')
  @Action('images.get', {
    summary: 'Get an image',
    answers: { 200: { description: 'The image', schema: Image, headers: { etag: 'resourceVersion' } } },
  })
  async get(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Image> {
    const projectId = await projectOf(this.deps.store, principal, project);
    const image = found('image', name, await this.deps.store.imageGet(projectId, addressName('image', name)));
    setEtag(reply, image);
    return image;
  }

  @Get(':name/file')
  @Action('images.export', {
    summary:
      'Download an image as a file, or go on with it where it broke off: of containers a tar that is an OCI layout and a docker-archive in one, else the disk or the ISO',
    answers: fileAnswers('Of the bytes of this file'),
    headers: fileHeaders,
  })
  async file(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Headers('range') range: string | undefined,
    @Headers('if-range') ifRange: string | undefined,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const projectId = await projectOf(this.deps.store, asking.principal, project);
    const image = found('image', name, await this.deps.store.imageGet(projectId, addressName('image', name)));
    const file = await imageFile(this.deps.blobs, image, asking.gone);
    const part = filePart(reply, file, { range, ifRange });
    const { first, last } = part;
    await this.deps.store.eventInsert(asking.context, {
      class: 'audit',
      type: 'image.downloaded',
      projectId,
      object: { kind: 'image', id: image.id, name },
      data: { first, last, sizeBytes: file.sizeBytes },
    });
    this.deps.wake.ledger();
    await fileSend(reply, file, part, file.read(first));
  }

  @Delete(':name')
  @Action('images.delete', {
    summary: 'Delete an image that no instance uses',
    answers: { 204: { description: 'Gone' } },
  })
  async delete(
    @Asking() asking: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
  ): Promise<void> {
    const projectId = await projectOf(this.deps.store, asking.principal, project);
    const holders = await this.deps.store.imageDelete(asking.context, projectId, addressName('image', name));
    this.deps.wake.ledger();
    for (const host of holders) this.deps.wake.dispatch(host);
  }
}
