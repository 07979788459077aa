import { BerthError } from '@berth/model';
import type { Db, Tx } from './db.js';
import { inTx, read } from './db.js';
import { schemaDifference } from './migrate.js';
import type { CaMaterial } from './rows.js';

interface Incarnation {
  readonly id: string;
  /** Cluster, timeline and database this incarnation was made in. */
  readonly home: string;
}

const home = `(SELECT s.system_identifier || '/' || c.timeline_id || '/' || d.oid
  FROM pg_control_system() s, pg_control_checkpoint() c, pg_database d WHERE d.datname = current_database())`;

/**
 * Makes the incarnation, or a new one where the database woke up in another cluster, timeline or database than the one
 * it was made in: what agents know may then be newer than what is stored here, so they only report.
 */
export async function incarnationEnsure(db: Db): Promise<void> {
  await inTx(db, async (tx) => {
    await tx.changed(
      `INSERT INTO meta (key, value, updated_at) VALUES ('incarnation', jsonb_build_object('id', $1::text, 'home', ${home}), $2)
       ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at
       WHERE meta.value->>'home' <> excluded.value->>'home'`,
      [tx.ids.uuid(), tx.now],
    );
  });
}

export async function incarnationOf(tx: Tx): Promise<string> {
  const row = await tx.row<{ value: Incarnation }>(`SELECT value FROM meta WHERE key = 'incarnation'`);
  if (row === null) throw new Error('the store has no incarnation');
  return row.value.id;
}

/** When the incarnation began. */
export async function incarnationSince(tx: Tx): Promise<Date> {
  const row = await tx.row<{ since: Date }>(`SELECT updated_at AS since FROM meta WHERE key = 'incarnation'`);
  if (row === null) throw new Error('the store has no incarnation');
  return row.since;
}

export async function storeIncarnation(db: Db): Promise<string> {
  return inTx(db, incarnationOf);
}

export async function caGet(db: Db): Promise<CaMaterial | null> {
  const [row] = await read<{ value: CaMaterial }>(db, `SELECT value FROM meta WHERE key = 'ca'`);
  return row?.value ?? null;
}

export async function caInit(db: Db, material: CaMaterial): Promise<CaMaterial> {
  await inTx(db, (tx) =>
    tx.changed(
      `INSERT INTO meta (key, value, updated_at) VALUES ('ca', $1, $2) ON CONFLICT (key) DO NOTHING`,
      [JSON.stringify(material), tx.now],
    ),
  );
  return (await caGet(db)) ?? material;
}

export async function ping(db: Db): Promise<void> {
  const ran = await read<{ name: string }>(db, 'SELECT name FROM migrations');
  const { missing, unknown } = schemaDifference(ran.map((r) => r.name));
  if (missing.length > 0)
    throw new BerthError('unavailable', `the database lacks ${missing.join(', ')}`, {
      remedy: 'start this release again: it brings the schema to its version',
    });
  if (unknown.length > 0)
    throw new BerthError(
      'unavailable',
      `the database was written by a newer release (${unknown.join(', ')})`,
      {
        remedy: 'replace this process by the newer release',
      },
    );
}
