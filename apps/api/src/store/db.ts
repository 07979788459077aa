import { BerthError } from '@berth/model';
import pg from 'pg';
import type { QueryResult, QueryResultRow } from 'pg';
import type { DataSource } from 'typeorm';
import type { Clock, IdSource } from './context.js';
import type { Presence } from './presence.js';

/** What every store function gets first. */
export interface Db {
  /** Pool for guarded statements; the same connections as TypeORM's. */
  readonly pool: pg.Pool;
  /** Mapped reads. */
  readonly orm: DataSource;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly options: StoreOptions;
  readonly commitListeners: Set<() => void>;
  /** That this process is there, for the others. */
  readonly presence: Pick<Presence, 'holder'>;
}

export interface StoreOptions {
  /** libpq address, for example `postgres:///berth?host=/run/berth/postgres&user=postgres`. */
  readonly url: string;
  /** Default networks of projects are /24 cuts of this. */
  readonly networkSupernet: string;
  readonly networkSupernet6: string;
  readonly poolSize: number;
}

/** One open transaction. `now` is read once, so that all its rows carry one time. */
export interface Tx {
  readonly now: Date;
  readonly ids: IdSource;
  readonly options: StoreOptions;
  rows<R extends QueryResultRow>(sql: string, values?: readonly unknown[]): Promise<R[]>;
  row<R extends QueryResultRow>(sql: string, values?: readonly unknown[]): Promise<R | null>;
  /** How many rows the statement changed. */
  changed(sql: string, values?: readonly unknown[]): Promise<number>;
  /** Called by the writer of events: listeners are told after the commit. */
  eventsWritten(): void;
}

/** int8 as number (nothing here outgrows 2^53); everything else as pg has it. */
export const columnTypes: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    oid === pg.types.builtins.INT8
      ? Number
      : pg.types.getTypeParser(oid, format as 'text')) as pg.CustomTypesConfig['getTypeParser'],
};

/** Names of statements, by their text. */
const named = new Map<string, string>();
/** More are not named: a text that is put together anew each time would fill the server's memory. */
const mostNamed = 500;

/**
 * A statement that each connection of the pool prepares once: the joins of this store cost more to plan than to run. What
 * has no values is sent as it is, since it may be several statements.
 */
function statement(sql: string, values: readonly unknown[] | undefined): pg.QueryConfig {
  if (values === undefined) return { text: sql };
  let name = named.get(sql);
  if (name === undefined && named.size < mostNamed) {
    name = `s${named.size}`;
    named.set(sql, name);
  }
  return { text: sql, values: values as unknown[], ...(name === undefined ? {} : { name }) };
}

const attempts = 4;

/**
 * Runs one READ COMMITTED transaction. Deadlocks and serialization failures are tried again (the work must be
 * repeatable: it only touches the database). @throws BerthError unavailable when the database cannot be reached.
 */
export async function inTx<T>(db: Db, work: (tx: Tx) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await once(db, work);
    } catch (error) {
      if (attempt < attempts && isTransient(error)) continue;
      throw translate(error);
    }
  }
}

/** The same, but nothing of it stays: to learn what a transaction would do. */
export async function inTxUndone<T>(db: Db, work: (tx: Tx) => Promise<T>): Promise<T> {
  let done: { readonly result: T } | null = null;
  const undo = new Error('done, and to be undone');
  try {
    return await inTx(db, async (tx) => {
      done = { result: await work(tx) };
      throw undo;
    });
  } catch (error) {
    if (error !== undo || done === null) throw error;
    return (done as { readonly result: T }).result;
  }
}

async function once<T>(db: Db, work: (tx: Tx) => Promise<T>): Promise<T> {
  const client = await db.pool.connect();
  let wrote = false;
  let broken: Error | undefined;
  try {
    await client.query('BEGIN');
    const query = <R extends QueryResultRow>(
      sql: string,
      values?: readonly unknown[],
    ): Promise<QueryResult<R>> => client.query<R>(statement(sql, values));
    const result = await work({
      now: db.clock.now(),
      ids: db.ids,
      options: db.options,
      rows: async (sql, values) => (await query<never>(sql, values)).rows,
      row: async (sql, values) => (await query<never>(sql, values)).rows[0] ?? null,
      changed: async (sql, values) => (await query(sql, values)).rowCount ?? 0,
      eventsWritten: () => (wrote = true),
    });
    await client.query('COMMIT');
    if (wrote) for (const tell of db.commitListeners) tell();
    return result;
  } catch (error) {
    // A connection that cannot roll back goes out of the pool.
    await client.query('ROLLBACK').catch((rollback: Error) => (broken = rollback));
    throw error;
  } finally {
    client.release(broken);
  }
}

/** One reading statement outside a transaction. */
export async function read<R extends QueryResultRow>(
  db: Db,
  sql: string,
  values: readonly unknown[] = [],
): Promise<R[]> {
  try {
    return (await db.pool.query<R>(statement(sql, values))).rows;
  } catch (error) {
    throw translate(error);
  }
}

/** A mapped read through TypeORM, with the same errors as the rest. */
export async function mapped<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw translate(error);
  }
}

function codeOf(error: unknown): string {
  const e = error as { code?: unknown; driverError?: { code?: unknown } } | null;
  const code = e?.driverError?.code ?? e?.code;
  return typeof code === 'string' ? code : '';
}

function isTransient(error: unknown): boolean {
  return codeOf(error) === '40001' || codeOf(error) === '40P01';
}

/** Whether a unique constraint (by its name) refused the row. */
export function isDuplicate(error: unknown, constraint: string): boolean {
  return codeOf(error) === '23505' && (error as { constraint?: string }).constraint === constraint;
}

const lost = /^(08|57P0)|^53300$|^(ECONNREFUSED|ECONNRESET|ENOENT|EPIPE|ETIMEDOUT)$/;

function translate(error: unknown): unknown {
  if (error instanceof BerthError) return error;
  const code = codeOf(error);
  const message = error instanceof Error ? error.message : '';
  if (
    lost.test(code) ||
    /Connection terminated|is not queryable|timeout exceeded when trying to connect/.test(message)
  )
    return new BerthError('unavailable', 'the database cannot be reached', {
      remedy: 'try again; `berth status` shows whether Postgres runs',
      cause: error,
    });
  // text and jsonb cannot hold NUL
  if (code === '22P05' || code === '22021')
    return new BerthError('invalid', 'a text holds a character that cannot be stored (NUL)', {
      cause: error,
    });
  return error;
}
