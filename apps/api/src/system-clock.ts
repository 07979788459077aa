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
