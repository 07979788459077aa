import type { Instance, InstanceStats } from '@berth/model';
import type { HttpDeps, StatsNow } from './deps.js';
import type { Caller } from './gate.js';

interface StatsWanted {
  readonly follow: boolean;
  readonly intervalSeconds: number;
}

/**
 * What an instance uses, as JSON lines: one, or one after each interval until it runs no more. It breaks off when its host is lost, or
 * its token revoked. @throws BerthError stateConflict, unavailable, unsupported, rateLimited
 */
export async function statsText(
  deps: Pick<HttpDeps, 'stats' | 'clock' | 'config'>,
  instance: Instance,
  { follow, intervalSeconds }: StatsWanted,
  { gone, stillAllowed }: Pick<Caller, 'gone' | 'stillAllowed'>,
): Promise<AsyncGenerator<string>> {
  const over = new AbortController();
  const now = (): Date => deps.clock.now();
  const source = await deps.stats(instance, intervalSeconds * 1000, AbortSignal.any([gone, over.signal]));
  return (async function* () {
    let checked = now().getTime();
    try {
      for await (const stats of newestOf(source, now)) {
        const age = now().getTime() - checked;
        if (age < 0 || age >= deps.config.heartbeatMs) {
          await stillAllowed();
          checked = now().getTime();
        }
        yield `${JSON.stringify(stats)}\n`;
        if (!follow) return;
      }
    } finally {
      over.abort();
    }
  })();
}

/** The newest that has come since the last was taken: what is read late is left out, and nothing waits for a reader. */
async function* newestOf(source: AsyncIterable<StatsNow>, now: () => Date): AsyncGenerator<InstanceStats> {
  let newest: InstanceStats | null = null;
  let end: { readonly failed: boolean; readonly cause?: unknown } | null = null;
  let wake = (): void => undefined;
  void (async () => {
    try {
      for await (const stats of source) {
        newest = { time: now().toISOString(), ...stats };
        wake();
      }
      end = { failed: false };
    } catch (cause) {
      end = { failed: true, cause };
    }
    wake();
  })();
  for (;;) {
    const taken = newest as InstanceStats | null;
    newest = null;
    const ended = end as { readonly failed: boolean; readonly cause?: unknown } | null;
    if (taken !== null) yield taken;
    else if (ended?.failed === true) throw ended.cause;
    else if (ended !== null) return;
    else await new Promise<void>((resolve) => (wake = resolve));
  }
}
