import { BerthError, type Event } from '@berth/model';
import type { EventFilter, EventStore } from '../store/store.js';
import { passes } from './filter.js';
import type { Told } from './ledger.js';

/** How much of the ledger's end is kept in memory. What is older is read from the database by who needs it. */
export interface TailBounds {
  readonly events: number;
  /** Of their JSON. */
  readonly characters: number;
  /** Read back when the tail begins: those who come again after this process was started anew are just behind the head. */
  readonly atFirst: number;
}
export const tailBounds: TailBounds = { events: 8_000, characters: 8 * 1024 * 1024, atFirst: 1_000 };

const pageSize = 1_000;
/** What one `after` gives at most, characters of JSON; a single event may be longer. */
const takeCharacters = 32 * 1024;

export interface TailDeps {
  readonly store: Pick<EventStore, 'eventsRead' | 'eventsCheck'>;
  /** Called when there is more, after those of `onTold`. */
  readonly wake: () => void;
  /** Told when a read failed; the next `advance` tries again. */
  readonly onError: (error: unknown) => void;
  readonly onRead: () => void;
  readonly bounds?: TailBounds;
}

/**
 * The end of the ledger in memory, read once for all who follow: every event after `start` up to `end`, without a gap.
 *
 *   begin -> reads back a little, then whatever comes -> forgets its oldest when it is full
 *
 * Followers keep nothing but a position, so one that is slow costs no memory: it finds its place forgotten, and reads pages
 * of its own until it is back.
 */
export class Tail {
  private kept: Told[] = [];
  private characters = 0;
  private start = 0;
  private end = 0;
  private begun: Promise<void> | null = null;
  private reading: Promise<void> | null = null;
  private again = false;
  private stopped = false;
  private readonly listeners = new Set<(told: readonly Told[]) => void>();
  private readonly bounds: TailBounds;
  /** Raised when a place that was good before must be looked at anew. */
  life = 0;

  constructor(private readonly deps: TailDeps) {
    this.bounds = deps.bounds ?? tailBounds;
  }

  /** Resolves when it is known what is in memory. Only the first call does anything. @throws BerthError unavailable */
  begin(): Promise<void> {
    this.begun ??= this.stand(this.bounds.atFirst).then(
      () => this.advance(),
      (error: unknown) => {
        this.begun = null;
        throw error;
      },
    );
    return this.begun;
  }

  /** There may be more to read. */
  advance(): void {
    if (this.life === 0 || this.stopped) return;
    this.again = true;
    this.reading ??= this.readOn();
  }

  onTold(listener: (told: readonly Told[]) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  holds(position: number): boolean {
    return position >= this.start;
  }

  /** Whether there is anything after a position. */
  reaches(position: number): boolean {
    return this.end > position;
  }

  /** The next that pass after a position that is held, and how far that goes. */
  after(position: number, filter: EventFilter): { readonly told: readonly Told[]; readonly through: number } {
    const told: Told[] = [];
    let characters = 0;
    for (let i = firstAfter(this.kept, position); i < this.kept.length; i += 1) {
      const next = this.kept[i] as Told;
      if (!passes(filter, next.event)) continue;
      characters += next.json.length;
      if (told.length > 0 && characters > takeCharacters) return { told, through: told.at(-1)!.position };
      told.push(next);
    }
    return { told, through: Math.max(position, this.end) };
  }

  async close(): Promise<void> {
    this.stopped = true;
    await this.reading;
  }

  /** Begins anew at the head, or that much before it. */
  private async stand(before: number): Promise<void> {
    const head = Number(await this.deps.store.eventsCheck(null));
    this.kept = [];
    this.characters = 0;
    this.end = Math.max(0, head - before);
    this.start = this.end;
    this.life += 1;
  }

  private async readOn(): Promise<void> {
    try {
      while (this.again && !this.stopped) {
        this.again = false;
        if (await this.readPage()) this.again = true;
      }
    } catch (error) {
      if (!this.stopped) this.deps.onError(error);
    } finally {
      this.reading = null;
    }
  }

  /** Whether there is more. */
  private async readPage(): Promise<boolean> {
    try {
      this.deps.onRead();
      const page = await this.deps.store.eventsRead(String(this.end), pageSize);
      this.take(page.events, Number(page.through));
      return page.events.length === pageSize;
    } catch (error) {
      if (!(error instanceof BerthError && error.code === 'gone')) throw error;
      // What it stood at is no longer kept, or never was: followers look at their own places.
      await this.stand(0);
      this.deps.wake();
      return true;
    }
  }

  private take(events: readonly Event[], through: number): void {
    const told = events.map(toldOf);
    for (const one of told) {
      this.kept.push(one);
      this.characters += one.json.length;
    }
    this.end = through;
    this.forget();
    if (told.length === 0) return;
    for (const listener of this.listeners) listener(told);
    this.deps.wake();
  }

  private forget(): void {
    let n = 0;
    for (; n < this.kept.length; n += 1) {
      if (this.kept.length - n <= this.bounds.events && this.characters <= this.bounds.characters) break;
      this.characters -= this.kept[n]!.json.length;
    }
    if (n === 0) return;
    this.start = this.kept[n - 1]!.position;
    this.kept.splice(0, n);
  }
}

export function toldOf(event: Event): Told {
  return { position: Number(event.position), event, json: JSON.stringify(event) };
}

/** Index of the first event after a position, by halving. */
function firstAfter(kept: readonly Told[], position: number): number {
  let low = 0;
  let high = kept.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (kept[middle]!.position > position) high = middle;
    else low = middle + 1;
  }
  return low;
}
