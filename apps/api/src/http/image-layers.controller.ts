import { defaultArchiveLimits } from '@berth/images';
import { BerthError, type Image, ImageHistoryEntry, ImageTree, type ProjectId } from '@berth/model';
import { Controller, Get, Inject, Param, Query } from '@nestjs/common';
import { z } from 'zod';
import { blobsHere } from '../images/image-blobs.js';
import { imageHistory } from '../images/image-history.js';
import { imageTree } from '../images/image-tree.js';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { Asking, type Caller } from './gate.js';
import { addressName, found, projectOf } from './project-scope.js';
import { listOf, wholeNumber } from './query.js';

type OciImage = Image & { readonly content: Extract<Image['content'], { kind: 'oci' }> };

const History = listOf(ImageHistoryEntry);
const HistoryPage = z.strictObject({
  limit: wholeNumber(1, 500).default(100).describe('Steps of one page'),
  cursor: z
    .string()
    .regex(/^\d{1,7}$/, 'must be a nextCursor')
    .optional()
    .describe('`nextCursor` of the page before'),
});

/** What images of containers consist of. */
@Controller('v1/projects/:project')
export class ImageLayersController {
  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {}

  @Get('imageTree')
  @Action('images.list', {
    summary: 'Show which layers the images of containers share, as a tree, with the images that end at each',
    answers: { 200: { description: 'The layers of all images of the project', schema: ImageTree } },
  })
  async tree(@Asking() { principal }: Caller, @Param('project') project: string): Promise<ImageTree> {
    const projectId = await projectOf(this.deps.store, principal, project);
    const images: Image[] = [];
    for (let cursor: string | null | undefined; cursor !== null;) {
      const page = await this.deps.store.imageList(
        projectId,
        cursor === undefined ? { limit: 500 } : { limit: 500, cursor },
      );
      images.push(...page.items);
      cursor = page.nextCursor;
    }
    return imageTree(images);
  }

  @Get('images/:name/history')
  @Action('images.get', {
    summary: 'List the steps in which an image of containers came to be, newest first, as it says itself',
    answers: { 200: { description: 'One page', schema: History } },
  })
  async history(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Query({ schema: HistoryPage }) { limit, cursor = '0' }: z.infer<typeof HistoryPage>,
  ): Promise<z.infer<typeof History>> {
    const projectId = await projectOf(this.deps.store, principal, project);
    const image = await this.ociImage(projectId, name);
    const { configDigest } = image.content;
    await blobsHere(this.deps.blobs, image, [configDigest]);
    const config = await this.deps.blobs.read(configDigest, defaultArchiveLimits.documentBytes);
    const steps = imageHistory(image.content, config);
    const first = Number(cursor);
    const next = first + limit;
    return { items: steps.slice(first, next), nextCursor: next < steps.length ? String(next) : null };
  }

  /** @throws BerthError notFound, unsupported */
  private async ociImage(projectId: ProjectId, name: string): Promise<OciImage> {
    const stored = await this.deps.store.imageGet(projectId, addressName('image', name));
    const { content, ...image } = found('image', name, stored);
    if (content.kind !== 'oci')
      throw new BerthError('unsupported', `${name} is a file, and has no layers.`, {
        remedy: 'Name an image of kind oci.',
      });
    return { ...image, content };
  }
}
