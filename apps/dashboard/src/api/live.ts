import { followEvents, ProblemError } from '@berth/client';
import type { Event } from './client.js';
import type { QueryClient } from '@tanstack/react-query';
import { useSyncExternalStore } from 'react';
import { eventsQuery } from './queries.js';
import { signedOut } from './session.js';
import { staleKeys } from './stale.js';

/** How the page hears of changes: `live` at once, `lost` not until the connection heals, `paused` while nobody looks. */
export type LiveState = 'connecting' | 'live' | 'lost' | 'paused';

/** Events of this long are answered together, milliseconds: one POST makes half a dozen. */
const gatherMs = 80;
/** The API sends a heartbeat every 15 s; two missed ones and the connection is given up. */
const silenceMs = 40_000;
/** A page that nobody sees lets its connection go after this long: browsers have six per origin. */
const hiddenMs = 60_000;

/** Keeps the query cache true by the ledger's stream. One per page. */
export class Live {
  private state: LiveState = 'connecting';
  private readonly listeners = new Set<() => void>();
  private stop: AbortController | null = null;
  private last: string | undefined;
  private stale = new Map<string, readonly unknown[]>();
  private gathering: number | undefined;
  private hiding: number | undefined;

  constructor(private readonly client: QueryClient) {}

  start(): () => void {
    const seen = (): void => this.visibility();
    const awake = (): void => void (this.state === 'lost' && this.restart());
    document.addEventListener('visibilitychange', seen);
    window.addEventListener('online', awake);
    this.restart();
    return () => {
      document.removeEventListener('visibilitychange', seen);
      window.removeEventListener('online', awake);
      clearTimeout(this.hiding);
      clearTimeout(this.gathering);
      this.stop?.abort();
      this.last = undefined;
    };
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };
  readonly current = (): LiveState => this.state;

  private visibility(): void {
    clearTimeout(this.hiding);
    if (document.visibilityState === 'visible') {
      if (this.state === 'paused') this.restart();
      return;
    }
    this.hiding = window.setTimeout(() => {
      this.stop?.abort();
      this.say('paused');
    }, hiddenMs);
  }

  private restart(): void {
    this.stop?.abort();
    this.stop = new AbortController();
    this.say('connecting');
    void this.follow(this.stop.signal);
  }

  private async follow(signal: AbortSignal): Promise<void> {
    const options = {
      signal,
      silenceMs,
      connected: () => this.connected(),
      lost: () => this.say('lost'),
      ...(this.last === undefined ? {} : { after: this.last }),
    };
    try {
      const send = (request: Request): Promise<Response> => fetch(request);
      for await (const event of followEvents(window.location.origin, send, options)) this.take(event);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ProblemError && error.code === 'unauthenticated') return signedOut(this.client);
      // Trimmed, or a database that was restored: what was read is worth nothing, so all is read anew.
      this.last = undefined;
      this.say('lost');
      window.setTimeout(() => !signal.aborted && this.restart(), 2000);
    }
  }

  /** Without a position to resume from, whatever happened before this connection was missed. */
  private connected(): void {
    if (this.last === undefined)
      void this.client.invalidateQueries({ predicate: (q) => q.queryKey[0] !== 'session' });
    // What could not be read while nothing answered is read now.
    else void this.client.refetchQueries({ type: 'active', predicate: (q) => q.state.status === 'error' });
    this.say('live');
  }

  private take(event: Event): void {
    this.last = event.position;
    this.client.setQueryData(eventsQuery(event.object.id).queryKey, (old) =>
      old === undefined || old.some((e) => e.position === event.position) ? old : [...old, event],
    );
    for (const key of staleKeys(event)) this.stale.set(JSON.stringify(key), key);
    this.gathering ??= window.setTimeout(() => this.flush(), gatherMs);
  }

  private flush(): void {
    this.gathering = undefined;
    const keys = [...this.stale.values()];
    this.stale = new Map();
    for (const queryKey of keys) void this.client.invalidateQueries({ queryKey });
  }

  private say(state: LiveState): void {
    if (state === this.state) return;
    this.state = state;
    for (const listener of this.listeners) listener();
  }
}

export function useLive(live: Live): LiveState {
  return useSyncExternalStore(live.subscribe, live.current);
}
