import { BerthError } from '@berth/model';

/** Part of a file, both ends included. */
export interface ByteRange {
  readonly first: number;
  readonly last: number;
}

/**
 * The part that a `Range` header asks for (RFC 9110 section 14.2); null for the whole file: no header, several ranges, or one that
 * makes no sense, which is not heeded. @throws BerthError badRange, when the file ends before it
 */
export function byteRange(header: string | undefined, size: number): ByteRange | null {
  const [, from = '', to = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '') ?? [];
  if (from === '' && to === '') return null;
  const first = from === '' ? Math.max(0, size - Number(to)) : Number(from);
  const last = from === '' || to === '' ? size - 1 : Math.min(size - 1, Number(to));
  if (from !== '' && to !== '' && Number(to) < first) return null;
  if (first >= size)
    throw new BerthError('badRange', `the file has ${size} bytes, and byte ${first} was asked for`, {
      remedy: `ask for bytes below ${size}; whoever has that many has all of it`,
    });
  return { first, last };
}

/** Exactly so many bytes of a stream. Ends with an error where it ends too early, so that nobody takes a part for the whole. */
export async function* exactly(bytes: AsyncIterable<Uint8Array>, count: number): AsyncGenerator<Uint8Array> {
  let left = count;
  if (left === 0) return;
  for await (const chunk of bytes) {
    const part = chunk.length > left ? chunk.subarray(0, left) : chunk;
    left -= part.length;
    yield part;
    if (left === 0) return;
  }
  throw new Error(`a file that is downloaded ended ${left} bytes too early`);
}
