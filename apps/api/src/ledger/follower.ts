import type { EventFilter, EventPage } from '../store/store.js';
import type { Follower, Told } from './ledger.js';
import { toldOf, type Tail } from './tail.js';

/** Small: a follower keeps its page while its client reads it. */
const pageSize = 250;

export interface FollowerPorts {
  readonly tail: Tail;
  /** A page from the database, for a place that the tail has forgotten. */
  readonly page: (cursor: string, limit: number, filter: EventFilter) => Promise<EventPage>;
  /** Calls back once, at the next wake, which also the end of the ledger is; returns what takes that back. */
  readonly onWake: (woken: () => void) => () => void;
  readonly closed: AbortSignal;
}

/**
 * A place in the ledger: in the tail's memory while it is there, else in the database, page by page, until the tail holds
 * it. Both are looked through in order of position and from the same place on, so the change loses and doubles nothing.
 */
export class LedgerFollower implements Follower {
  /** Life of the tail in which its place was known to be good. */
  private life: number;

  constructor(
    private readonly ports: FollowerPorts,
    private at: number,
    private readonly filter: EventFilter,
  ) {
    this.life = ports.tail.life;
  }

  get position(): string {
    return String(this.at);
  }
  get over(): boolean {
    return this.ports.closed.aborted;
  }

  async take(): Promise<readonly Told[]> {
    const { tail } = this.ports;
    for (;;) {
      if (this.inMemory()) {
        const { told, through } = tail.after(this.at, this.filter);
        this.at = through;
        return told;
      }
      const { life } = tail;
      const page = await this.ports.page(String(this.at), pageSize, this.filter);
      this.at = Math.max(this.at, Number(page.through));
      this.life = life;
      if (page.events.length > 0) return page.events.map(toldOf);
    }
  }

  wait(signal: AbortSignal): Promise<void> {
    const { onWake } = this.ports;
    return new Promise((resolve) => {
      const done = (): void => {
        forget();
        signal.removeEventListener('abort', done);
        resolve();
      };
      const forget = onWake(done);
      signal.addEventListener('abort', done, { once: true });
      if (signal.aborted || this.over || this.hasMore()) done();
    });
  }

  private inMemory(): boolean {
    return this.life === this.ports.tail.life && this.ports.tail.holds(this.at);
  }
  private hasMore(): boolean {
    return !this.inMemory() || this.ports.tail.reaches(this.at);
  }
}
