import { placeAt, placeText, placeWindow, type LogPlace } from '@berth/model';
import { ProblemError } from './problem.js';
import { pause } from './transport.js';

/** What a log that is followed gives. */
export type LogPiece =
  | { readonly type: 'bytes'; readonly bytes: Uint8Array }
  /** What follows is of this epoch: the first, or a later one after all of the one before. */
  | { readonly type: 'epoch'; readonly epoch: number }
  /** Bytes are missing here: their host dropped them before they were read. */
  | { readonly type: 'gap' };

/** One answer of the API: see docs/api-streams.md. */
export interface LogAnswer {
  /** Null where the API is not sure yet of which epoch it is. */
  readonly start: { readonly epoch: number; readonly offset: number } | null;
  readonly gap: boolean;
  readonly body: ReadableStream<Uint8Array>;
}

/** Where a log begins; with several of them where the latest does. All that is kept when absent. */
export interface LogBegin {
  readonly tailBytes?: number;
  readonly tailLines?: number;
  /** RFC 3339; containers only, as what follows is. */
  readonly since?: string;
}

/** How its lines are shown. */
export interface LogForms {
  readonly timestamps?: boolean;
  readonly format?: 'text' | 'json';
}

export interface LogSource {
  /** Opens the log, from a place or from where it is to begin. @throws ProblemError, UnreachableError */
  open(from: LogBegin & { readonly after?: string }, signal: AbortSignal): Promise<LogAnswer>;
  /** The newest epoch whose host has said something of it; null before. @throws ProblemError notFound when it is deleted */
  epoch(signal: AbortSignal): Promise<number | null>;
  /**
   * Calls back whenever there may be a new epoch, or an end of the instance, until the signal fires.
   * @throws ProblemError, UnreachableError
   */
  changes(changed: () => void, signal: AbortSignal): Promise<void>;
}

export interface FollowLogOptions extends LogBegin, LogForms {
  readonly signal: AbortSignal;
  /** Waits between connections, milliseconds; the last one repeats. */
  readonly backoffMs?: readonly number[];
}

/** A host looks at the log of an epoch at least once a second: quiet for longer, one that is over has said all, milliseconds. */
const drainMs = 2000;

/** Wait before a stream of changes that broke is taken up anew, milliseconds. */
const againMs = 1000;

/**
 * A log as it grows, without gaps and without doubles over lost connections and restarts of the API, and on into each next
 * epoch. Ends when the instance is deleted, or with the signal. @throws what the first connection meets, and what cannot be
 * healed by trying again
 */
export async function* followLog(source: LogSource, options: FollowLogOptions): AsyncGenerator<LogPiece> {
  const waits = options.backoffMs ?? [100, 400, 1600, 5000];
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const newest = new Newest(source);
  const { tailBytes, tailLines, since } = options;
  const begin = { tailBytes, tailLines, since };
  const reader = new Reader(Object.fromEntries(Object.entries(begin).filter(([, of]) => of !== undefined)));
  let failures = 0;
  void newest.follow(signal);
  try {
    while (!signal.aborted) {
      try {
        for await (const piece of reader.connection(source, newest, signal)) {
          failures = 0;
          yield piece;
        }
        if (newest.deleted) return;
        if (reader.drained) continue;
      } catch (error) {
        if (signal.aborted || newest.deleted) return;
        if (!reader.began) throw error;
        if (error instanceof ProblemError && !error.retryable && error.code !== 'internal') {
          if (error.status === 404) return;
          throw error;
        }
      }
      await pause(waits[Math.min(failures++, waits.length - 1)] ?? 5000, signal).catch(() => undefined);
    }
  } finally {
    stop.abort();
  }
}

/** What is known of the instance beside its log. */
class Newest {
  private epoch = 0;
  deleted = false;
  private readonly listeners = new Set<() => void>();

  constructor(private readonly source: LogSource) {}

  /** Until the signal fires. Never rejects: while the API is away, nothing changes that the log would not tell too. */
  async follow(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.source.changes(() => void this.look(signal), signal).catch(() => undefined);
      await this.look(signal);
      await pause(againMs, signal).catch(() => undefined);
    }
  }

  beyond(epoch: number): boolean {
    return this.deleted || this.epoch > epoch;
  }

  /** Resolves with what comes first: the result, or an end of this epoch, or its having been quiet when it is over. */
  async whichever<T>(result: Promise<T>, epoch: number): Promise<T | 'over' | 'quiet'> {
    const done = new AbortController();
    try {
      return await new Promise<T | 'over' | 'quiet'>((resolve, reject) => {
        result.then(resolve, reject);
        if (this.beyond(epoch))
          pause(drainMs, done.signal).then(
            () => resolve('quiet'),
            () => undefined,
          );
        else {
          const look = (): void => void (this.beyond(epoch) && resolve('over'));
          this.listeners.add(look);
          done.signal.addEventListener('abort', () => this.listeners.delete(look));
        }
      });
    } finally {
      done.abort();
    }
  }

  private async look(signal: AbortSignal): Promise<void> {
    try {
      this.epoch = Math.max(this.epoch, (await this.source.epoch(signal)) ?? 0);
    } catch (error) {
      if (!(error instanceof ProblemError && error.status === 404)) return;
      this.deleted = true;
    }
    for (const listener of this.listeners) listener();
  }
}

/** Reads one connection after the other, and knows how far it came. */
class Reader {
  epoch = 0;
  began = false;
  /** The connection was given up because its epoch is over and has said all. */
  drained = false;
  private offset = 0;
  private last: Uint8Array = new Uint8Array();

  constructor(private readonly begin: LogBegin) {}

  /** Ends when the connection does, or when its epoch is over and has said all. */
  async *connection(source: LogSource, newest: Newest, signal: AbortSignal): AsyncGenerator<LogPiece> {
    const stop = new AbortController();
    const answer = await source.open(this.from(), AbortSignal.any([signal, stop.signal]));
    const read = answer.body.getReader();
    try {
      this.began = true;
      this.drained = false;
      if (answer.start === null) return;
      const { epoch, offset } = answer.start;
      if (epoch !== this.epoch) {
        this.last = new Uint8Array();
        yield { type: 'epoch', epoch };
      } else if (answer.gap) yield { type: 'gap' };
      this.epoch = epoch;
      this.offset = offset;
      yield* this.pieces(read, newest);
    } finally {
      stop.abort();
      await read.cancel().catch(() => undefined);
    }
  }

  private async *pieces(
    read: ReadableStreamDefaultReader<Uint8Array>,
    newest: Newest,
  ): AsyncGenerator<LogPiece> {
    let reading = read.read();
    for (;;) {
      const next = await newest.whichever(reading, this.epoch);
      if (next === 'over') continue;
      if (next === 'quiet') return void (this.drained = true);
      if (next.done) return;
      this.advance(next.value);
      yield { type: 'bytes', bytes: next.value };
      reading = read.read();
    }
  }

  private from(): LogBegin & { after?: string } {
    return this.epoch > 0 ? { after: placeText(this.place()) } : this.begin;
  }

  private place(): LogPlace {
    return placeAt(this.epoch, this.offset, this.last);
  }

  private advance(bytes: Uint8Array): void {
    this.offset += bytes.length;
    const last = new Uint8Array(Math.min(placeWindow, this.last.length + bytes.length));
    const before = last.length - Math.min(last.length, bytes.length);
    if (before > 0) last.set(this.last.subarray(this.last.length - before));
    last.set(bytes.subarray(bytes.length - (last.length - before)), before);
    this.last = last;
  }
}
