import type { Event } from '@berth/model';
import type { EventFilter, EventPage } from '../store/store.js';

/** The event stream of one API process. Positions are decimal strings; "0" is before the first event. */
export interface Ledger {
  /**
   * One page after `cursor`, oldest first; with null, from the first event that is kept.
   * @throws BerthError gone when events after the cursor were trimmed
   */
  read(cursor: string | null, limit: number, filter?: EventFilter): Promise<EventPage>;
  /** Position of the newest event of which this process has heard: what was committed may be further. */
  head(): string;
  /** Resolves once there is an event after `cursor` (true), or the signal fires (false). */
  waitFor(cursor: string, signal: AbortSignal): Promise<boolean>;
  /** Follows the ledger after `cursor`; with null, from now on. @throws BerthError gone, invalid, unavailable */
  follow(cursor: string | null, filter: EventFilter): Promise<Follower>;
  /**
   * Calls back with what the tail has just read, before any follower gets it. Nothing is read while nobody follows, and
   * what followers read of earlier times is not told here. Returns the unsubscribe.
   */
  onTold(listener: (told: readonly Told[]) => void): () => void;
  /** Numbers what was committed until now; resolves with the head. */
  flush(): Promise<string>;
  /** Stops sequencing and wakes every waiter. */
  close(): Promise<void>;
}

/** An event as it is told: written out once, however many follow. */
export interface Told {
  readonly position: number;
  readonly event: Event;
  /** The event in JSON. */
  readonly json: string;
}

/** One reader of the ledger: each event that passes its filter, once and in order. It is pulled, and holds nothing itself. */
export interface Follower {
  /** The next events, some kilobytes or one; none when there are none yet. @throws BerthError gone, unavailable */
  take(): Promise<readonly Told[]>;
  /** Resolves when `take` may have something, the signal fires, or the ledger is closed. */
  wait(signal: AbortSignal): Promise<void>;
  /** Where it is: all up to here was given, or does not pass. */
  readonly position: string;
  /** Whether the ledger is closed: nothing will come. */
  readonly over: boolean;
}
