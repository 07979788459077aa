import type { Event, Problem } from '@berth/model';
import type { Ledger } from '../ledger/ledger.js';
import type { EventFilter } from '../store/store.js';
import { withTimeLimit } from '../system-clock.js';

export interface Follow {
  readonly after: string;
  readonly filter: EventFilter;
  readonly heartbeatMs: number;
  /** What was read already, after `after`. */
  readonly first: readonly Event[];
  readonly gone: AbortSignal;
  /** A stream must not outlive its token. @throws BerthError unauthenticated */
  readonly stillAllowed: () => Promise<void>;
}

const pageSize = 1000;

/**
 * Server-sent events (WHATWG HTML section 9.2) of the ledger until the client has gone: `id` is the position, `event` the
 * type, `data` the event. A quiet stream carries comment lines. Ends with `event: problem` when it cannot go on; a client
 * resumes by Last-Event-ID. The generator is pulled by the socket, so a slow client holds one page and no more.
 */
export async function* eventStream(
  ledger: Ledger,
  follow: Follow,
  problem: (error: unknown) => Problem,
): AsyncGenerator<string> {
  let cursor = follow.after;
  let page = follow.first;
  yield ': connected\n\n';
  try {
    while (!follow.gone.aborted) {
      for (const event of page) yield frame(event);
      cursor = page.at(-1)?.position ?? cursor;
      await follow.stillAllowed();
      // The head is read before the page: what the filter leaves out up to it need not be looked at again.
      const head = await ledger.head();
      page = await ledger.read(cursor, pageSize, follow.filter);
      if (page.length > 0) continue;
      cursor = max(cursor, head);
      if (!(await waited(ledger, cursor, follow))) yield ': \n\n';
    }
  } catch (error) {
    if (!follow.gone.aborted) yield `event: problem\ndata: ${JSON.stringify(problem(error))}\n\n`;
  }
}

/** False when nothing came within one heartbeat. */
async function waited(ledger: Ledger, cursor: string, follow: Follow): Promise<boolean> {
  return withTimeLimit(follow.gone, follow.heartbeatMs, (signal) => ledger.waitFor(cursor, signal));
}

function max(a: string, b: string): string {
  return BigInt(a) >= BigInt(b) ? a : b;
}

function frame(event: Event): string {
  return `id: ${event.position}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
}
