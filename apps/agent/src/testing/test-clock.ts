import type { Clock } from '../clock.js';

/** Time that passes when the test says so. */
export class TestClock implements Clock {
  private ms = Date.parse('2026-01-01T00:00:00.000Z');
  private sleepers: { readonly until: number; readonly wake: () => void }[] = [];

  now = (): Date => new Date(this.ms);
  random = (): number => 0.5;

  sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      if (signal?.aborted === true) return resolve();
      const sleeper = { until: this.ms + ms, wake: resolve };
      this.sleepers.push(sleeper);
      const leave = (): void => {
        this.sleepers = this.sleepers.filter((s) => s !== sleeper);
        resolve();
      };
      signal?.addEventListener('abort', leave, { once: true });
    });

  /** Milliseconds from now at which somebody wakes. */
  due(): number[] {
    return this.sleepers.map((s) => s.until - this.ms);
  }

  async pass(ms: number): Promise<void> {
    this.ms += ms;
    const due = this.sleepers.filter((s) => s.until <= this.ms);
    this.sleepers = this.sleepers.filter((s) => s.until > this.ms);
    for (const one of due) one.wake();
    for (let n = 0; n < 50; n += 1) await Promise.resolve();
  }
}
