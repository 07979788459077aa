import { connectionKeep } from './connection.js';
import type { IdSource } from './context.js';

/*
 * Whether an API process is still there, as Postgres sees it: each holds an advisory lock under a number of its own for as
 * long as its session lasts. The server lets the lock go when the process is dead, and when the server itself was; what
 * was under way in that session is over then. A new session has a new number.
 */

/** First key of the advisory locks of this kind; arbitrary, and nobody else's. */
const presenceClass = 0x6265;

export class Presence {
  /** Number of the session under way; null while there is none. */
  holder: number | null = null;
  private readonly life = new AbortController();
  private kept: Promise<void> = Promise.resolve();

  /** Resolves when the first session stands. @throws when Postgres cannot be reached */
  static async begin(url: string, ids: IdSource): Promise<Presence> {
    const presence = new Presence();
    await new Promise<void>((resolve, reject) => {
      presence.kept = connectionKeep(
        {
          url,
          name: 'berth-presence',
          opened: async (client) => {
            const number = parseInt(ids.uuid().slice(0, 8), 16) & 0x7fffffff;
            await client.query('SELECT pg_advisory_lock($1, $2)', [presenceClass, number]);
            presence.holder = number;
            resolve();
          },
          lost: () => {
            presence.holder = null;
            reject(new Error('the database cannot be reached'));
          },
        },
        presence.life.signal,
      );
    });
    return presence;
  }

  async close(): Promise<void> {
    this.life.abort();
    await this.kept;
  }
}

/** SQL that is true when nobody is left with the number in `column`. Null is nobody's, and proves nothing. */
export const holderGone = (column: string): string =>
  `(${column} IS NOT NULL AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted
     AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
     AND l.classid = ${presenceClass} AND l.objid = ${column}::oid AND l.objsubid = 2))`;
