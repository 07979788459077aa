import type pg from 'pg';
import { connectionKeep } from './connection.js';
import type { Db } from './db.js';
import { ledgerChannel } from './events.js';

/**
 * Keeps one dedicated connection that listens for numbered events; ends with the signal. NOTIFY is lost while the
 * connection is down, so `wake` also fires after each reconnect.
 */
export function ledgerListen(db: Db, wake: () => void, signal: AbortSignal): Promise<void> {
  const opened = async (client: pg.Client): Promise<void> => {
    client.on('notification', wake);
    await client.query(`LISTEN ${ledgerChannel}`);
    wake();
  };
  return connectionKeep({ url: db.options.url, name: 'berth-ledger', opened }, signal);
}
