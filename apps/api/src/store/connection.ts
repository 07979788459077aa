// eslint-disable-next-line no-restricted-imports -- the edge of the process: a reconnect waits in real time
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';

const retryMs = [50, 100, 200, 500, 1000] as const;

/**
 * Keeps one dedicated connection, whatever becomes of the server; ends with the signal. `opened` is called with each new
 * one, `lost` when that is gone.
 */
export async function connectionKeep(
  o: {
    readonly url: string;
    readonly name: string;
    readonly opened: (client: pg.Client) => Promise<void>;
    readonly lost?: () => void;
  },
  signal: AbortSignal,
): Promise<void> {
  for (let failures = 0; !signal.aborted;) {
    const client = new pg.Client({ connectionString: o.url, application_name: o.name });
    try {
      const ended = new Promise<void>((resolve) => {
        client.once('end', resolve);
        // More than one may come (what the server says, then the lost connection), and one unheard ends the process.
        client.on('error', () => resolve());
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
      await client.connect();
      await o.opened(client);
      failures = 0;
      await ended;
    } catch {
      failures += 1;
    } finally {
      o.lost?.();
      await client.end().catch(() => undefined);
    }
    if (!signal.aborted)
      await pause(retryMs[Math.min(failures, retryMs.length - 1)], undefined, { signal }).catch(
        () => undefined,
      );
  }
}
