import type { Event, EventClass, EventObjectKind } from '@berth/model';
import { errorOf, errorOfBody, ProblemError, UnreachableError } from './problem.js';
import { sseMessages } from './sse.js';
import { pause } from './transport.js';

export interface FollowOptions {
  /** Position to go on from; from now on when absent. */
  readonly after?: string;
  readonly project?: string;
  readonly class?: EventClass;
  readonly objectKind?: EventObjectKind;
  readonly objectId?: string;
  readonly signal: AbortSignal;
  /** Called whenever a connection stands: what commits from now on is told. */
  readonly connected?: () => void;
  /** Called whenever a connection was lost, or could not be made; the next one is tried after a wait. */
  readonly lost?: () => void;
  /** A connection that says nothing for this long, not even a heartbeat, is given up; never when absent, milliseconds. */
  readonly silenceMs?: number;
  /** Waits between connections, milliseconds; the last one repeats. */
  readonly backoffMs?: readonly number[];
}

/**
 * The ledger as it grows, without gaps and without doubles: a lost connection is taken up at the last position. Ends with
 * the signal. @throws ProblemError what cannot be healed by trying again, for example `gone`
 */
export async function* followEvents(
  baseUrl: string,
  send: (request: Request) => Promise<Response>,
  options: FollowOptions,
): AsyncGenerator<Event> {
  const waits = options.backoffMs ?? [100, 400, 1600, 5000];
  const place: Place = { last: options.after };
  let failures = 0;
  while (!options.signal.aborted) {
    try {
      for await (const event of connection(baseUrl, send, options, place)) {
        failures = 0;
        // Before the yield: who stops here has seen it.
        place.last = event.position;
        yield event;
      }
    } catch (error) {
      if (options.signal.aborted) return;
      if (error instanceof ProblemError && !error.retryable && error.code !== 'internal') throw error;
    }
    if (!options.signal.aborted) options.lost?.();
    await pause(waits[Math.min(failures++, waits.length - 1)] ?? 5000, options.signal).catch(() => undefined);
  }
}

/** All up to here was seen, or does not pass the filter. */
interface Place {
  last: string | undefined;
}

async function* connection(
  baseUrl: string,
  send: (request: Request) => Promise<Response>,
  options: FollowOptions,
  place: Place,
): AsyncGenerator<Event> {
  const url = new URL(`${baseUrl}/v1/events`);
  for (const key of ['project', 'class', 'objectKind', 'objectId'] as const)
    if (options[key] !== undefined) url.searchParams.set(key, options[key]);
  const headers: Record<string, string> = { accept: 'text/event-stream' };
  if (place.last !== undefined) headers['last-event-id'] = place.last;
  const silence = new Silence(options.silenceMs);
  const signal = AbortSignal.any([options.signal, silence.signal]);
  const response = await send(new Request(url, { headers, signal }));
  if (!response.ok) throw await errorOf(response);
  if (response.body === null) throw new UnreachableError('the event stream has no body', true);
  options.connected?.();
  try {
    const isAt = (id: string): void => void (place.last = id);
    // Node forgets the signal of a request once the request is collected; the pipe keeps it.
    const body = response.body.pipeThrough(silence.listener(), { signal });
    for await (const message of sseMessages(body, isAt)) {
      if (message.event === 'problem') throw errorOfBody(response, message.data);
      yield JSON.parse(message.data) as Event;
    }
  } finally {
    silence.end();
  }
}

/** Gives a connection up that went quiet: a machine that slept, or a path that broke without a word. */
class Silence {
  private readonly stop = new AbortController();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly ms: number | undefined) {}

  get signal(): AbortSignal {
    return this.stop.signal;
  }
  /** Passes bytes on; each one begins the wait anew. */
  listener(): TransformStream<Uint8Array, Uint8Array> {
    this.heard();
    return new TransformStream({
      transform: (chunk, controller) => {
        this.heard();
        controller.enqueue(chunk);
      },
    });
  }
  end(): void {
    clearTimeout(this.timer);
  }
  private heard(): void {
    this.end();
    if (this.ms !== undefined) this.timer = setTimeout(() => this.stop.abort(), this.ms);
  }
}
