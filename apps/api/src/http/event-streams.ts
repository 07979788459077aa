import type { Problem } from '@berth/model';
import type { Follower, Ledger, Told } from '../ledger/ledger.js';
import type { Meters } from '../metrics/meters.js';
import type { HttpConfig } from './deps.js';

export interface StreamOptions {
  readonly follower: Follower;
  /** Token that asks, itself or through a session. */
  readonly tokenId: string;
  readonly gone: AbortSignal;
  /** A stream must not outlive its token. @throws BerthError unauthenticated */
  readonly stillAllowed: () => Promise<void>;
  /** Ends the connection at once. */
  readonly drop: () => void;
  readonly problem: (error: unknown) => Problem;
}

export interface StreamsDeps {
  readonly ledger: Pick<Ledger, 'onTold'>;
  readonly config: Pick<HttpConfig, 'heartbeatMs' | 'stalledMs'>;
  readonly every: (milliseconds: number, task: () => void) => () => void;
  readonly meters: Pick<Meters, 'eventStreams' | 'eventStreamDropped'>;
}

/** What is sent with one write, characters. */
const chunkCharacters = 32 * 1024;

/**
 * All event streams of this process: server-sent events (WHATWG HTML section 9.2) of the ledger until the client has gone.
 * `id` is the position, `event` the type, `data` the event. One timer serves all: it makes quiet streams say where they are,
 * has each stream's token looked at again, and drops those whose client takes nothing.
 */
export class EventStreams {
  private readonly open = new Set<Stream>();
  private stop: (() => void) | null = null;

  constructor(private readonly deps: StreamsDeps) {}

  /**
   * Ends with `event: problem` when it cannot go on, or without a word when the process ends; a client resumes by
   * Last-Event-ID. The socket pulls: a slow client costs one write, and is dropped when it takes none of it for long.
   */
  async *frames(options: StreamOptions): AsyncGenerator<string> {
    const stream = new Stream(options);
    this.add(stream);
    try {
      yield* stream.frames();
    } finally {
      this.remove(stream);
    }
  }

  private add(stream: Stream): void {
    this.open.add(stream);
    this.deps.meters.eventStreams(this.open.size);
    if (this.stop !== null) return;
    const { heartbeatMs, stalledMs } = this.deps.config;
    const patience = Math.ceil(stalledMs / heartbeatMs);
    const untell = this.deps.ledger.onTold((told) => this.told(told));
    const untick = this.deps.every(heartbeatMs, () => {
      for (const one of this.open) if (one.tick(patience)) this.deps.meters.eventStreamDropped();
    });
    this.stop = () => {
      untell();
      untick();
    };
  }

  private remove(stream: Stream): void {
    this.open.delete(stream);
    this.deps.meters.eventStreams(this.open.size);
    if (this.open.size > 0) return;
    this.stop?.();
    this.stop = null;
  }

  /** What the ledger says of a token concerns its streams before they tell anything that came later. */
  private told(told: readonly Told[]): void {
    const tokens = new Set(told.filter((t) => t.event.object.kind === 'token').map((t) => t.event.object.id));
    if (tokens.size > 0) for (const one of this.open) one.tokenChanged(tokens);
  }
}

class Stream {
  /** Whether its token must be looked at before anything more is told. */
  private unchecked = true;
  /** Ticks since the socket took something; null while it has nothing to take. */
  private stalled: number | null = null;
  /** Whether nothing was sent since the last tick. */
  private quiet = true;
  private beat = false;
  private nudge = new AbortController();

  constructor(private readonly o: StreamOptions) {
    o.gone.addEventListener('abort', () => this.nudge.abort(), { once: true });
  }

  /** Whether it was dropped just now. */
  tick(patience: number): boolean {
    if (this.stalled === patience) {
      this.stalled = null;
      this.o.drop();
      return true;
    }
    if (this.stalled !== null) this.stalled += 1;
    this.unchecked = true;
    this.beat = this.quiet;
    this.quiet = true;
    this.nudge.abort();
    return false;
  }

  tokenChanged(tokens: ReadonlySet<string>): void {
    if (!tokens.has(this.o.tokenId)) return;
    this.unchecked = true;
    this.nudge.abort();
  }

  async *frames(): AsyncGenerator<string> {
    try {
      let text: string | null = this.place('connected');
      while (text !== null && !this.o.gone.aborted) {
        this.stalled = 0;
        yield text;
        this.stalled = null;
        text = await this.next();
      }
    } catch (error) {
      if (!this.o.gone.aborted) yield `event: problem\ndata: ${JSON.stringify(this.o.problem(error))}\n\n`;
    }
  }

  private waiting: readonly Told[] = [];

  /** What is to be sent next; null at the end. @throws BerthError unauthenticated, gone, unavailable */
  private async next(): Promise<string | null> {
    const { follower, gone } = this.o;
    while (!gone.aborted) {
      if (this.waiting.length === 0) this.waiting = await follower.take();
      // After the read: what was told of the token meanwhile counts for what was read.
      while (this.unchecked) {
        this.unchecked = false;
        await this.o.stillAllowed();
      }
      if (this.waiting.length > 0) return this.chunk();
      if (follower.over) return null;
      if (this.beat) {
        this.beat = false;
        return this.place('still here');
      }
      if (this.nudge.signal.aborted && !gone.aborted) this.nudge = new AbortController();
      await follower.wait(this.nudge.signal);
    }
    return null;
  }

  /** A comment, and an id without data: no event, but where to go on, also when nothing that passes came for long. */
  private place(comment: string): string {
    return `: ${comment}\nid: ${this.o.follower.position}\n\n`;
  }

  private chunk(): string {
    let text = '';
    let n = 0;
    for (; n < this.waiting.length && text.length < chunkCharacters; n += 1) text += frame(this.waiting[n]!);
    this.waiting = this.waiting.slice(n);
    this.quiet = false;
    return text;
  }
}

const frame = ({ position, event, json }: Told): string =>
  `id: ${position}\nevent: ${event.type}\ndata: ${json}\n\n`;
