import { defaultArchiveLimits } from '@berth/images';
import {
  BerthError,
  type Image,
  ImageHistoryEntry,
  ImageTree,
  LayerChange,
  Name,
  type ProjectId,
} from '@berth/model';
import { Controller, Get, Inject, Param, Query } from '@nestjs/common';
import { z } from 'zod';
import { blobsHere } from '../images/image-blobs.js';
import { ImageDiffs } from '../images/image-diffs.js';
import { imageHistory } from '../images/image-history.js';
import { imageTree } from '../images/image-tree.js';
import { Action } from './action.js';
import { HTTP_DEPS, type HttpDeps } from './deps.js';
import { Asking, type Caller } from './gate.js';
import { addressName, found, projectOf } from './project-scope.js';
import { listOf, wholeNumber } from './query.js';

type OciImage = Image & { readonly content: Extract<Image['content'], { kind: 'oci' }> };

const History = listOf(ImageHistoryEntry);
const Changes = listOf(LayerChange);
const cursor = z
  .string()
  .regex(/^\d{1,7}$/, 'must be a nextCursor')
  .optional()
  .describe('`nextCursor` of the page before');
const HistoryPage = z.strictObject({
  limit: wholeNumber(1, 500).default(100).describe('Steps of one page'),
  cursor,
});
const DiffPage = z.strictObject({
  to: Name.describe('The image that is compared with this one'),
  limit: wholeNumber(1, 1000).default(500).describe('Paths of one page'),
  cursor,
});

/** A page of what is at hand whole; the cursor counts what came before it. */
function pageOf<T>(
  all: readonly T[],
  cursor: string,
  limit: number,
): { items: T[]; nextCursor: string | null } {
  const first = Number(cursor);
  const next = first + limit;
  return { items: all.slice(first, next), nextCursor: next < all.length ? String(next) : null };
}

/** What images of containers consist of. */
@Controller('v1/projects/:project')
export class ImageLayersController {
  private readonly diffs: ImageDiffs;

  constructor(@Inject(HTTP_DEPS) private readonly deps: HttpDeps) {
    this.diffs = new ImageDiffs(deps.blobs);
  }

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
    return pageOf(imageHistory(image.content, config), cursor, limit);
  }

  @Get('images/:name/diff')
  @Action('images.diff', {
    summary:
      'List the paths that another image of containers adds to this one, changes and lacks, parents first; times do not count',
    answers: { 200: { description: 'One page', schema: Changes } },
  })
  async diff(
    @Asking() { principal }: Caller,
    @Param('project') project: string,
    @Param('name') name: string,
    @Query({ schema: DiffPage }) { to, limit, cursor = '0' }: z.infer<typeof DiffPage>,
  ): Promise<z.infer<typeof Changes>> {
    const projectId = await projectOf(this.deps.store, principal, project);
    const [before, after] = [await this.ociImage(projectId, name), await this.ociImage(projectId, to)];
    for (const image of [before, after])
      await blobsHere(
        this.deps.blobs,
        image,
        image.content.layers.map(({ digest }) => digest),
      );
    return pageOf(await this.diffs.changes(before.content, after.content), cursor, limit);
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
