import { createHash } from 'node:crypto';
import { z } from 'zod';
import { LinkError } from './door.js';

/*
 * A layer on the link: GET /layers/<instanceId>?… is answered with parts, each of its length (4 bytes, big-endian) and as many bytes. A
 * part of length 0 is the last, and behind it stands, again with its length, what became of it as JSON: `{sha256}` of all the bytes, or
 * why there are no more of them. A stream that ends before that is not whole.
 */

const headBytes = 4;
const partMost = 4 * 1024 * 1024;
const endMost = 64 * 1024;

const End = z.union([
  z.strictObject({ sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
  z.strictObject({ code: z.string(), message: z.string(), remedy: z.string().optional() }),
]);

/** How a layer ended: its digest, or the host's refusal. */
export type LayerEnd = z.infer<typeof End>;

/** @param refusal how what the bytes ended with is told; what it throws breaks the stream off */
export async function* layerAnswer(
  bytes: AsyncIterable<Uint8Array>,
  refusal: (thrown: unknown) => LayerEnd,
): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  let end: LayerEnd;
  try {
    for await (const chunk of bytes) {
      hash.update(chunk);
      for (let at = 0; at < chunk.length; at += partMost) {
        const part = chunk.subarray(at, at + partMost);
        yield length(part.length);
        yield part;
      }
    }
    end = { sha256: hash.digest('hex') };
  } catch (error) {
    end = refusal(error);
  }
  const said = Buffer.from(JSON.stringify(end));
  yield length(0);
  yield length(said.length);
  yield said;
}

/**
 * The bytes of a layer. It ends without an error only when they are those that its host read.
 * @param refused what is thrown where the host says why there are no more @throws LinkError malformed, closed
 */
export async function* layerOfAnswer(
  stream: AsyncIterable<Uint8Array>,
  refused: (refusal: Exclude<LayerEnd, { sha256: string }>) => Error,
): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  const source = new Source(stream[Symbol.asyncIterator]());
  try {
    for (;;) {
      let left = await source.number();
      if (left === 0) break;
      if (left > partMost) throw new LinkError('malformed', 'the host sent too large a part of a layer');
      while (left > 0) {
        const part = await source.some(left);
        left -= part.length;
        hash.update(part);
        yield part;
      }
    }
    const said = await source.number();
    if (said > endMost) throw new LinkError('malformed', 'the host said too much of a layer');
    const parsed = End.safeParse(JSON.parse((await source.exactly(said)).toString('utf8')));
    if (!parsed.success) throw new LinkError('malformed', 'the host did not say how the layer ended');
    if (!('sha256' in parsed.data)) throw refused(parsed.data);
    if (parsed.data.sha256 !== hash.digest('hex'))
      throw new LinkError('malformed', 'the layer changed on its way from the host');
  } finally {
    await source.close();
  }
}

function length(value: number): Buffer {
  const head = Buffer.alloc(headBytes);
  head.writeUInt32BE(value);
  return head;
}

class Source {
  private held: Uint8Array = new Uint8Array(0);

  constructor(private readonly chunks: AsyncIterator<Uint8Array>) {}

  /** At least one byte, and at most so many. */
  async some(most: number): Promise<Uint8Array> {
    while (this.held.length === 0) {
      const next = await this.chunks.next();
      if (next.done === true) throw new LinkError('closed', 'the layer ended early');
      this.held = next.value;
    }
    const part = this.held.subarray(0, most);
    this.held = this.held.subarray(part.length);
    return part;
  }

  async exactly(count: number): Promise<Buffer> {
    const parts: Uint8Array[] = [];
    for (let left = count; left > 0;) {
      const part = await this.some(left);
      parts.push(part);
      left -= part.length;
    }
    return Buffer.concat(parts);
  }

  async number(): Promise<number> {
    return (await this.exactly(headBytes)).readUInt32BE();
  }

  async close(): Promise<void> {
    await this.chunks.return?.();
  }
}
