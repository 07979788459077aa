import type { Readable } from 'node:stream';
import type { z } from 'zod';
import { LinkError } from './door.js';

/**
 * Reads a whole body of at most `maxBytes`. A longer one is dropped as it comes, so that the stream can still carry
 * an answer. @throws LinkError tooLarge, closed
 */
export function readBody(stream: Readable, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let chunks: Buffer[] = [];
    let size = 0;
    if (stream.readableEnded) return resolve(Buffer.alloc(0));
    if (stream.destroyed) return reject(new LinkError('closed', 'the stream ended early'));
    stream.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= maxBytes) return void chunks.push(chunk);
      chunks = [];
      reject(new LinkError('tooLarge', `the body is larger than ${maxBytes} bytes`));
    });
    stream.once('end', () => resolve(Buffer.concat(chunks)));
    stream.once('error', (cause) => reject(new LinkError('closed', cause.message, { cause })));
    stream.once('close', () => reject(new LinkError('closed', 'the stream ended early')));
  });
}

/** Parses JSON against a schema. @throws LinkError malformed, naming the first bad field. */
export function parseMessage<S extends z.ZodType>(schema: S, text: string | Buffer): z.output<S> {
  let value: unknown;
  try {
    value = JSON.parse(text.toString());
  } catch (cause) {
    throw new LinkError('malformed', 'the message is not JSON', { cause });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new LinkError('malformed', `${issue?.path.join('/') ?? ''}: ${issue?.message ?? 'invalid'}`, {
    cause: parsed.error,
  });
}

/**
 * Lines of a byte stream, without their newline. A line longer than `maxBytes` ends the iteration with an error, so
 * that a peer cannot make this side hold more. @throws LinkError tooLarge
 */
export async function* lines(stream: AsyncIterable<Buffer>, maxBytes: number): AsyncGenerator<string> {
  let held: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    let from = 0;
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, from)) {
      held.push(chunk.subarray(from, at));
      if (size + at - from > maxBytes)
        throw new LinkError('tooLarge', `a line is longer than ${maxBytes} bytes`);
      yield Buffer.concat(held).toString('utf8');
      held = [];
      size = 0;
      from = at + 1;
    }
    const rest = chunk.subarray(from);
    size += rest.length;
    if (size > maxBytes) throw new LinkError('tooLarge', `a line is longer than ${maxBytes} bytes`);
    if (rest.length > 0) held.push(rest);
  }
}
