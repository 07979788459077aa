import { UnreachableError } from './problem.js';
import { lines } from './sse.js';

/** Values of a stream of JSON lines (application/x-ndjson), as they come. @throws UnreachableError when it breaks off */
export async function* jsonLines<T>(body: ReadableStream<Uint8Array>): AsyncGenerator<T> {
  try {
    for await (const line of lines(body)) yield JSON.parse(line) as T;
  } catch (cause) {
    throw new UnreachableError('the answer of the API broke off', true, { cause });
  }
}
