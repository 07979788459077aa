// eslint-disable-next-line no-restricted-imports -- the edge of the process: a reconnect waits in real time
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import type { Db } from './db.js';
import { ledgerChannel } from './events.js';

const retryMs = [50, 100, 200, 500, 1000] as const;

/**
 * Keeps one dedicated connection that listens for numbered events; ends with the signal. NOTIFY is lost while the
 * connection is down, so `wake` also fires after each reconnect.
 */
export async function ledgerListen(db: Db, wake: () => void, signal: AbortSignal): Promise<void> {
  for (let failures = 0; !signal.aborted;) {
    const client = new pg.Client({ connectionString: db.options.url, application_name: 'berth-ledger' });
    try {
      const ended = new Promise<void>((resolve) => {
        client.once('end', resolve);
        // More than one may come (what the server says, then the lost connection), and one unheard ends the process.
        client.on('error', () => resolve());
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
      await client.connect();
      client.on('notification', wake);
      await client.query(`LISTEN ${ledgerChannel}`);
      failures = 0;
      wake();
      await ended;
    } catch {
      failures += 1;
    } finally {
      await client.end().catch(() => undefined);
    }
    if (!signal.aborted)
      await pause(retryMs[Math.min(failures, retryMs.length - 1)], undefined, { signal }).catch(
        () => undefined,
      );
  }
}
