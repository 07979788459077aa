import type { Readable } from 'node:stream';
import { Interrupted } from './source-get.js';

/** Held for the disk before the connection is asked to wait, bytes. */
const heldMost = 1024 * 1024;

/**
 * The chunks of a body, and its error only after all that came before it: read as a stream, one that is cut forgets what
 * nobody has taken yet. Listens from the call on, so that no end goes unheard before the first chunk is asked for.
 */
export function arriving(body: Readable): AsyncIterable<Buffer> {
  const held: Buffer[] = [];
  let bytes = 0;
  const end: { reason?: Error | null } = {};
  let wake = (): void => undefined;
  const ended = (reason: Error | null): void => {
    if (end.reason === undefined) end.reason = reason;
    wake();
  };
  body.on('data', (chunk: Buffer) => {
    held.push(chunk);
    bytes += chunk.length;
    if (bytes > heldMost) body.pause();
    wake();
  });
  body.once('end', () => ended(null));
  body.on('error', ended);
  body.once('close', () => ended(new Interrupted('the connection was cut')));
  if (body.destroyed) ended(new Interrupted('the connection was cut'));
  return (async function* () {
    for (;;) {
      const chunk = held.shift();
      if (chunk !== undefined) {
        bytes -= chunk.length;
        if (bytes <= heldMost && body.isPaused()) body.resume();
        yield chunk;
      } else if (end.reason === undefined) await new Promise<void>((resolve) => (wake = resolve));
      else if (end.reason === null) return;
      else throw end.reason;
    }
  })();
}
