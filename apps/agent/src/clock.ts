/** Time and chance as the agent's core sees them; injected, so that tests and the simulation own them. */
export interface Clock {
  now(): Date;
  /** Resolves after `ms` milliseconds, or at once when the signal fires. Never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Uniform in [0, 1). */
  random(): number;
}

/** Exponential back-off with jitter of a quarter either way: `baseMs`, doubled per attempt, at most `maxMs`. */
export function backoffMs(clock: Clock, attempt: number, baseMs: number, maxMs: number): number {
  const plain = Math.min(maxMs, baseMs * 2 ** Math.min(Math.max(attempt, 0), 30));
  return Math.round(plain * (0.75 + clock.random() / 2));
}

/** A wake-up that is never lost: a wake before the wait makes the wait return at once. */
export class Wakeup {
  private awake = false;
  private resolve: (() => void) | null = null;

  wake(): void {
    this.awake = true;
    this.resolve?.();
  }

  /** Until the next wake, `ms` milliseconds (null: no limit), or the signal. */
  async wait(clock: Clock, ms: number | null, signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const end = (): void => over.abort();
    signal.addEventListener('abort', end, { once: true });
    this.resolve = end;
    if (!this.awake && !signal.aborted) {
      if (ms !== null) await clock.sleep(ms, over.signal);
      else
        await new Promise<void>((done) =>
          over.signal.addEventListener('abort', () => done(), { once: true }),
        );
    }
    signal.removeEventListener('abort', end);
    this.resolve = null;
    this.awake = false;
  }
}

/** At most `size` holders at a time, first come first served. */
export class Slots {
  private free: number;
  private readonly waiting: (() => void)[] = [];

  constructor(size: number) {
    this.free = Math.max(1, size);
  }

  /** Runs `work` in a slot. A signal that fires while waiting gives the place up by throwing its reason. */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    await this.take(signal);
    try {
      return await work();
    } finally {
      const next = this.waiting.shift();
      if (next === undefined) this.free += 1;
      else next();
    }
  }

  private async take(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.free > 0) {
      this.free -= 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const turn = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        this.waiting.splice(this.waiting.indexOf(turn), 1);
        reject(signal.reason as Error);
      };
      this.waiting.push(turn);
      signal.addEventListener('abort', leave, { once: true });
    });
  }
}
