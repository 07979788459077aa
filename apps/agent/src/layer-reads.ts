import { layerAnswer, LinkError, type LayerEnd, type LinkAnswer, type LinkRequest } from '@berth/link';
import type { ImageContent, InstanceId } from '@berth/model';
import { type LayerFacet, RuntimeError, type WorkloadKey } from '@berth/runtime';
import type { Placements } from './placements.js';
import { refusalOf } from './refusal.js';

/** Layers of one host that are packed at a time: each has a container stand still, and holds a stream of the link. */
const atOnce = 4;

/** What containers here changed of their images, for the API. */
export class LayerReads {
  private packing = 0;

  constructor(private readonly placements: Pick<Placements, 'newest'>) {}

  /** One page of the changes. */
  async changes(instanceId: InstanceId, { query, signal }: LinkRequest): Promise<LinkAnswer> {
    const after = query.get('after');
    const page = { limit: wholeOf(query.get('limit')), ...(after === null ? {} : { after }) };
    const found = this.found(instanceId, query.get('image'));
    if ('refusal' in found) return found.refusal;
    try {
      const { facet, key, image } = found;
      return { status: 200, body: await facet.changes(key, image, page, signal) };
    } catch (error) {
      return refusalOf(error);
    }
  }

  /** The layer; what goes wrong on the way is told behind its bytes. */
  pack(instanceId: InstanceId, { query, signal }: LinkRequest): LinkAnswer {
    const found = this.found(instanceId, query.get('image'));
    if ('refusal' in found) return found.refusal;
    if (this.packing >= atOnce)
      return {
        status: 429,
        body: { code: 'rateLimited', message: `${atOnce} containers of this host are committed already` },
      };
    this.packing += 1;
    const leave = (): void => void (this.packing -= 1);
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
    const { facet, key } = found;
    return {
      status: 200,
      body: layerAnswer(facet.pack(key, wholeOf(query.get('maxBytes')), signal), refusal),
    };
  }

  private found(
    instanceId: InstanceId,
    digest: string | null,
  ): { refusal: LinkAnswer } | { facet: LayerFacet; key: WorkloadKey; image: ImageContent } {
    const newest = this.placements.newest(instanceId);
    if ('refusal' in newest) return newest;
    const { runtime, key, image } = newest;
    const { layers: facet, name } = runtime;
    if (facet === undefined)
      return { refusal: { status: 501, body: { code: 'unsupported', message: `${name} keeps no layers` } } };
    if (image.digest === digest) return { facet, key, image };
    const message = `the host has it made of ${image.digest} still`;
    const remedy = 'wait until its rebuild is over';
    return { refusal: { status: 409, body: { code: 'notPrepared', message, remedy } } };
  }
}

/** @throws what is no refusal of the runtime */
function refusal(thrown: unknown): LayerEnd {
  if (!(thrown instanceof RuntimeError)) throw thrown;
  const { code, message, remedy } = thrown;
  return { code, message, ...(remedy === null ? {} : { remedy }) };
}

function wholeOf(text: string | null): number {
  const value = Number(text);
  if (text !== null && Number.isSafeInteger(value) && value > 0) return value;
  throw new LinkError('malformed', 'a number is missing');
}
