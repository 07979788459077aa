import type { EventFilter, EventStore } from '../store/store.js';
import type { Ledger } from './ledger.js';

/** What the ledger needs from its surroundings. */
export interface LedgerDeps {
  readonly store: EventStore;
  /**
   * Calls back after the given time, again and again, until the returned function is called. It heals what a crash
   * between a commit and its numbering left; nothing in the common way waits for it.
   */
  readonly every: (ms: number, tick: () => void) => () => void;
  /** Told when numbering failed; it is tried again at the next commit or tick. */
  readonly onError: (error: unknown) => void;
}

const healMs = 1000;

/**
 * Starts numbering what this process commits, and waking its readers.
 *
 *   commit -> flush (one at a time; commits meanwhile share the next one) -> NOTIFY -> every process wakes its readers
 */
export function startLedger(deps: LedgerDeps): Ledger {
  const { store } = deps;
  const stopping = new AbortController();
  const waiters = new Set<() => void>();
  const wake = (): void => {
    for (const waiter of [...waiters]) waiter();
  };

  let running: Promise<string> | null = null;
  let queued: Promise<string> | null = null;
  const number = async (): Promise<string> => {
    const { numbered, head } = await store.eventsNumber();
    // This process need not wait for its own NOTIFY to come round.
    if (numbered > 0) wake();
    return head;
  };
  // A flush that is under way may have looked before the caller's commit: the caller gets the next one.
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
  const poke = (): void =>
    void flush().catch((error: unknown) => !stopping.signal.aborted && deps.onError(error));

  const unsubscribe = store.onCommit(poke);
  const stopHealing = deps.every(healMs, poke);
  const listening = store.ledgerListen(wake, stopping.signal);
  poke();

  return {
    read: (cursor, limit, filter?: EventFilter) => store.eventsRead(cursor, limit, filter),
    head: () => store.eventsHead(),
    flush,
    waitFor: (cursor, signal) => waitFor(store, waiters, cursor, AbortSignal.any([signal, stopping.signal])),
    close: async () => {
      stopping.abort();
      unsubscribe();
      stopHealing();
      wake();
      await Promise.allSettled([listening, running, queued]);
    },
  };
}

/** The waiter is registered before the look at the head, so that no wake-up falls between the two. */
async function waitFor(
  store: EventStore,
  waiters: Set<() => void>,
  cursor: string,
  signal: AbortSignal,
): Promise<boolean> {
  while (!signal.aborted) {
    let woken = (): void => undefined;
    const wakened = new Promise<void>((resolve) => (woken = resolve));
    waiters.add(woken);
    signal.addEventListener('abort', woken, { once: true });
    try {
      if (BigInt(await store.eventsHead()) > BigInt(cursor)) return true;
      await wakened;
    } finally {
      waiters.delete(woken);
      signal.removeEventListener('abort', woken);
    }
  }
  return false;
}
