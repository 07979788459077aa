import type { Event } from '@berth/model';
import type { EventFilter } from '../store/store.js';

/** The event stream of one API process. Positions are decimal strings; "0" is before the first event. */
export interface Ledger {
  /** Events after `cursor`, at most `limit`, oldest first. @throws BerthError gone when they were trimmed */
  read(cursor: string, limit: number, filter?: EventFilter): Promise<readonly Event[]>;
  /** Position of the newest numbered event. */
  head(): Promise<string>;
  /** Resolves once there is an event after `cursor` (true), or the signal fires (false). */
  waitFor(cursor: string, signal: AbortSignal): Promise<boolean>;
  /** Numbers what was committed until now; resolves with the head. */
  flush(): Promise<string>;
  /** Stops sequencing and wakes every waiter. */
  close(): Promise<void>;
}
