import { LinkError } from './door.js';

/*
 * A file of a guest on the link: GET /files/<instanceId>?path=… is answered with its size (8 bytes, big-endian, one more than
 * it is; 0 where nobody knows) and its bytes, and is not whole when the stream breaks off. PUT takes the bytes as they are.
 */

const headBytes = 8;

export async function* fileAnswer(
  sizeBytes: number | null,
  bytes: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const head = Buffer.alloc(headBytes);
  head.writeBigUInt64BE(sizeBytes === null ? 0n : BigInt(sizeBytes) + 1n);
  yield head;
  yield* bytes;
}

/** Reads the head; the rest comes as it is read. @throws LinkError malformed, closed */
export async function fileOfAnswer(
  stream: AsyncIterable<Buffer>,
): Promise<{ readonly sizeBytes: number | null; readonly bytes: AsyncIterable<Uint8Array> }> {
  const source = stream[Symbol.asyncIterator]();
  let held: Buffer = Buffer.alloc(0);
  while (held.length < headBytes) {
    const next = await source.next();
    if (next.done === true) throw new LinkError('malformed', 'the host sent no file');
    held = Buffer.concat([held, next.value]);
  }
  const size = Number(held.readBigUInt64BE()) - 1;
  return { sizeBytes: size < 0 ? null : size, bytes: rest(held.subarray(headBytes), source) };
}

async function* rest(first: Buffer, source: AsyncIterator<Buffer>): AsyncGenerator<Uint8Array> {
  try {
    if (first.length > 0) yield first;
    for (let next = await source.next(); next.done !== true; next = await source.next()) yield next.value;
  } finally {
    await source.return?.();
  }
}
