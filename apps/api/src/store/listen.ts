import type pg from 'pg';
import { connectionKeep } from './connection.js';
import type { Db } from './db.js';
import { ledgerChannel } from './events.js';

/**
 * Keeps one dedicated connection that listens for numbered events; ends with the signal. NOTIFY is lost while the
 * connection is down, so `heard` is also called, with null, after each connect.
 */
export function ledgerListen(
  db: Db,
  heard: (head: string | null) => void,
  signal: AbortSignal,
): Promise<void> {
  const opened = async (client: pg.Client): Promise<void> => {
    client.on('notification', ({ payload }) => heard(payload ?? null));
    await client.query(`LISTEN ${ledgerChannel}`);
    heard(null);
  };
  return connectionKeep({ url: db.options.url, name: 'berth-ledger', opened }, signal);
}
