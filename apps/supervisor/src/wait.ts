import { setTimeout as delay } from 'node:timers/promises';

/** Waits. Rejects with the signal's reason when it fires first. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  await delay(ms, undefined, signal === undefined ? {} : { signal });
}
