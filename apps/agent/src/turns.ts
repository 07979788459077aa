import type { StepContext } from '@berth/runtime';
import { backoffMs, Wakeup } from './clock.js';
import type { Clock } from './clock.js';

/** Work that is tried again until it is done. */
export interface Errand {
  /** Attempts that failed. */
  attempts: number;
  /** Not before that, ms since the epoch. */
  retryAt: number;
}

/** Carries out errands: a few at the same time, and those of one owner one after the other, so that one that hangs holds up no others. */
export class Turns<T extends Errand> {
  /** By owner. */
  private readonly underWay = new Map<string, Promise<void>>();
  private readonly wakeup = new Wakeup();
  private readonly life = new AbortController();
  private readonly loop: Promise<void>;

  constructor(
    private readonly o: {
      readonly clock: Clock;
      readonly atOnce: number;
      /** How long one attempt may take, ms. */
      readonly stepMs: number;
      /** What is still to be done, and could be. */
      readonly open: () => readonly T[];
      readonly owner: (errand: T) => string;
      /** Whether all that it needs is there. While it is not, that is looked at often. */
      readonly ready: (errand: T) => boolean;
      /** One attempt, which never rejects. */
      readonly attempt: (errand: T, ctx: StepContext) => Promise<void>;
    },
  ) {
    this.loop = this.run();
  }

  /** The agent ends: what fails now has not failed. */
  get ending(): boolean {
    return this.life.signal.aborted;
  }

  busy(owner: string): boolean {
    return this.underWay.has(owner);
  }

  wake(): void {
    this.wakeup.wake();
  }

  /** After an attempt that failed: it is tried again, later with each. */
  later(errand: T): void {
    const { clock } = this.o;
    errand.retryAt = clock.now().getTime() + backoffMs(clock, errand.attempts++, 500, 60_000);
  }

  /** Aborts what is under way; resolves when it is over. */
  async close(): Promise<void> {
    this.life.abort(new Error('the agent ends'));
    this.wakeup.wake();
    await this.loop;
  }

  private async run(): Promise<void> {
    const { clock, owner } = this.o;
    while (!this.ending) {
      const open = this.o.open();
      for (const errand of open) if (this.turn(errand)) this.begin(errand);
      const due = open.filter((errand) => !this.busy(owner(errand))).map(({ retryAt }) => retryAt);
      const ms = due.length === 0 ? null : Math.max(50, Math.min(...due) - clock.now().getTime());
      await this.wakeup.wait(clock, ms, this.life.signal);
    }
    await Promise.all(this.underWay.values());
  }

  private turn(errand: T): boolean {
    const { clock, atOnce, owner, ready } = this.o;
    return (
      !this.busy(owner(errand)) &&
      this.underWay.size < atOnce &&
      errand.retryAt <= clock.now().getTime() &&
      ready(errand)
    );
  }

  private begin(errand: T): void {
    const owner = this.o.owner(errand);
    const work = this.attempt(errand).finally(() => {
      this.underWay.delete(owner);
      this.wakeup.wake();
    });
    this.underWay.set(owner, work);
  }

  private async attempt(errand: T): Promise<void> {
    const { clock, stepMs } = this.o;
    const timer = new AbortController();
    const late = new AbortController();
    void clock.sleep(stepMs, timer.signal).then(() => late.abort(new Error(`not done within ${stepMs} ms`)));
    const signal = AbortSignal.any([this.life.signal, late.signal]);
    try {
      await this.o.attempt(errand, { signal, deadline: clock.now().getTime() + stepMs });
    } finally {
      timer.abort();
    }
  }
}
