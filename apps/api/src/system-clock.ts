import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import type { Pause } from './dispatch/hooks.js';
import type { Timers } from './reconcile/reconcile.js';
import type { Clock, IdSource } from './store/store.js';

/*
 * The machine's own time and randomness, as the cores take them. The only file of the API that may read them; main.ts
 * is the other edge.
 */
export const systemClock: Clock = { now: () => new Date() };

/** Monotonic, milliseconds. */
export const systemTicks = (): number => performance.now();

export const randomIds: IdSource = { uuid: () => randomUUID() };

export const systemTimers: Timers = {
  every: (ms, task) => {
    const timer = setInterval(task, ms);
    return () => clearInterval(timer);
  },
};

export const systemPause: Pause = {
  sleep: (ms, signal) => wait(ms, undefined, signal === undefined ? {} : { signal }).catch(() => undefined),
};

/**
 * Does the work with a signal that fires when `gone` does, or after `ms` milliseconds. The timer is one of our own:
 * `AbortSignal.any` holds its sources weakly, and one of `AbortSignal.timeout` may be collected before it fires
 * (nodejs/node issue 57736).
 */
export async function withTimeLimit<T>(
  gone: AbortSignal,
  ms: number,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const over = new AbortController();
  const end = (): void => over.abort();
  const timer = setTimeout(end, ms);
  gone.addEventListener('abort', end, { once: true });
  if (gone.aborted) end();
  try {
    return await work(over.signal);
  } finally {
    clearTimeout(timer);
    gone.removeEventListener('abort', end);
  }
}
