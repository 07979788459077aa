import type { Clock } from '../store/context.js';

interface Window {
  readonly since: number;
  count: number;
}

/** Addresses that are remembered at once; the oldest is forgotten first. */
const most = 10_000;

/**
 * Counts failed sign-ins, per address and altogether, in windows of one minute. In memory: secrets cannot be guessed at
 * this rate however many replicas there are; the limit keeps the log readable and the database quiet.
 */
export class SignInFailures {
  private readonly windows = new Map<string, Window>();

  constructor(
    private readonly clock: Clock,
    private readonly limits: { readonly perAddress: number; readonly altogether: number } = {
      perAddress: 10,
      altogether: 200,
    },
  ) {}

  /** Seconds until this address may try again; 0 when it may now. */
  waitSeconds(address: string): number {
    const { perAddress, altogether } = this.limits;
    return Math.max(this.waitOf(address, perAddress), this.waitOf('', altogether));
  }

  failed(address: string): void {
    for (const key of [address, '']) {
      const window = this.current(key) ?? { since: this.clock.now().getTime(), count: 0 };
      window.count += 1;
      this.windows.set(key, window);
    }
    const oldest = this.windows.keys().next().value;
    if (this.windows.size > most && oldest !== undefined) this.windows.delete(oldest);
  }

  private waitOf(key: string, limit: number): number {
    const window = this.current(key);
    if (window === null || window.count < limit) return 0;
    return Math.max(1, Math.ceil((window.since + 60_000 - this.clock.now().getTime()) / 1000));
  }

  private current(key: string): Window | null {
    const window = this.windows.get(key);
    if (window === undefined) return null;
    if (this.clock.now().getTime() - window.since < 60_000) return window;
    this.windows.delete(key);
    return null;
  }
}
