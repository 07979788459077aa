import type { EventFilter, EventPage, EventStore } from '../store/store.js';
import { LedgerFollower } from './follower.js';
import type { Ledger } from './ledger.js';
import { Tail, type TailBounds } from './tail.js';
import { Turns } from './turns.js';

/** What the ledger needs from its surroundings. */
export interface LedgerDeps {
  readonly store: EventStore;
  /**
   * Calls back after the given time, again and again, until the returned function is called. It heals what a crash
   * between a commit and its numbering left; nothing in the common way waits for it.
   */
  readonly every: (ms: number, tick: () => void) => () => void;
  /** Told when numbering or reading failed; it is tried again at the next commit or tick. */
  readonly onError: (error: unknown) => void;
  /** Told of each read for followers: of the tail for all, or of a page for one that is behind it. */
  readonly onRead?: (part: 'tail' | 'backlog') => void;
  readonly bounds?: TailBounds;
}

const healMs = 1000;
/** Reads for followers that are behind, at a time: requests must never wait for a connection behind hundreds of them. */
const backlogReads = 2;

/**
 * Starts numbering what this process commits, and waking its readers.
 *
 *   commit -> flush (one at a time; commits meanwhile share the next one) -> NOTIFY -> every process reads on, once -> its
 *   followers
 */
export function startLedger(deps: LedgerDeps): Ledger {
  const { store } = deps;
  const stopping = new AbortController();
  const heads = new Wakes();
  const news = new Wakes();
  const turns = new Turns(backlogReads);
  const tail = new Tail({
    store,
    wake: () => news.wake(),
    onError: deps.onError,
    onRead: () => deps.onRead?.('tail'),
    ...(deps.bounds === undefined ? {} : { bounds: deps.bounds }),
  });
  let known = 0;
  const headIs = (head: string): void => {
    if (Number(head) <= known) return;
    known = Number(head);
    heads.wake();
    tail.advance();
  };

  const flush = numberer(store, headIs);
  const failed = (error: unknown): void => void (stopping.signal.aborted || deps.onError(error));
  const poke = (): void => void flush().catch(failed);
  const page = (cursor: string, limit: number, filter: EventFilter): Promise<EventPage> =>
    turns.take(() => {
      deps.onRead?.('backlog');
      return store.eventsRead(cursor, limit, filter);
    });

  const unsubscribe = store.onCommit(poke);
  const stopHealing = deps.every(healMs, () => {
    poke();
    // Only after a read that failed.
    if (!tail.reaches(known - 1)) tail.advance();
  });
  // Whatever was missed; and a database that was put in another's place may have a lower head.
  const connected = async (): Promise<void> => {
    known = Number(await flush());
    heads.wake();
    tail.advance();
  };
  const listening = store.ledgerListen(
    (head) => (head === null ? void connected().catch(failed) : headIs(head)),
    stopping.signal,
  );
  poke();

  return {
    read: (cursor, limit, filter?: EventFilter) => store.eventsRead(cursor, limit, filter),
    head: () => String(known),
    flush,
    waitFor: async (cursor, signal) => {
      const either = AbortSignal.any([signal, stopping.signal]);
      await heads.until(() => known > Number(cursor), either);
      return !either.aborted;
    },
    follow: async (cursor, filter) => {
      await tail.begin();
      const head = await store.eventsCheck(cursor, filter);
      const onWake = (woken: () => void): (() => void) => news.once(woken);
      return new LedgerFollower(
        { tail, page, onWake, closed: stopping.signal },
        Number(cursor ?? head),
        filter,
      );
    },
    onTold: (listener) => tail.onTold(listener),
    close: async () => {
      stopping.abort();
      unsubscribe();
      stopHealing();
      news.wake();
      await Promise.allSettled([listening, flush.ended(), tail.close()]);
    },
  };
}

/** Numbering, one at a time. A flush that is under way may have looked before the caller's commit: the caller gets the next. */
function numberer(
  store: Pick<EventStore, 'eventsNumber'>,
  headIs: (head: string) => void,
): (() => Promise<string>) & { readonly ended: () => Promise<unknown> } {
  let running: Promise<string> | null = null;
  let queued: Promise<string> | null = null;
  const number = async (): Promise<string> => {
    const { head } = await store.eventsNumber();
    // This process need not wait for its own NOTIFY to come round.
    headIs(head);
    return head;
  };
  const flush = (): Promise<string> => {
    if (running === null) {
      running = number().finally(() => (running = null));
      return running;
    }
    queued ??= running
      .catch(() => undefined)
      .then(() => {
        queued = null;
        return flush();
      });
    return queued;
  };
  return Object.assign(flush, { ended: () => Promise.allSettled([running, queued]) });
}

/** Those who wait for something to change. */
class Wakes {
  private readonly waiting = new Set<() => void>();

  /** Calls back at the next wake, once; returns what takes that back. */
  once(woken: () => void): () => void {
    this.waiting.add(woken);
    return () => void this.waiting.delete(woken);
  }
  wake(): void {
    for (const woken of [...this.waiting]) {
      this.waiting.delete(woken);
      woken();
    }
  }
  async until(holds: () => boolean, signal: AbortSignal): Promise<void> {
    while (!holds() && !signal.aborted)
      await new Promise<void>((resolve) => {
        const done = (): void => {
          forget();
          signal.removeEventListener('abort', done);
          resolve();
        };
        const forget = this.once(done);
        signal.addEventListener('abort', done, { once: true });
      });
  }
}
