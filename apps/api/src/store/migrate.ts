import type { Migration } from '@berth/migrations';
import { migrations as released } from '@berth/migrations';
import pg from 'pg';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { DataSource } from 'typeorm';

/** Any two processes that migrate meet here. */
const lockKey = 0x62_65_72_74; // "bert"
const epoch = 1_700_000_000_000;

/** The database was written by a newer release. */
export class SchemaTooNew extends Error {
  constructor(readonly unknown: readonly string[]) {
    super(
      `the database has migrations this release does not know (${unknown.join(', ')}): ` +
        'it was written by a newer release. Start that release, or restore a dump made before the upgrade.',
    );
    this.name = 'SchemaTooNew';
  }
}

const className = (m: Migration): string => `${m.name}${epoch + m.version}`;

/** TypeORM wants a class per step, named with a 13-digit stamp that orders them. */
function toClass(m: Migration): new () => MigrationInterface {
  return class implements MigrationInterface {
    readonly name = className(m);
    async up(runner: QueryRunner): Promise<void> {
      await runner.query(m.sql);
    }
    down(): Promise<void> {
      return Promise.reject(new Error('migrations only go forward; restore a dump instead'));
    }
  };
}

/**
 * Brings the schema to this release's version, and returns the names of the steps that ran. Safe to call from several
 * processes at once: an advisory lock on a connection of its own lets one run while the others wait, then find nothing to do.
 * @throws SchemaTooNew
 */
export async function migrate(
  url: string,
  steps: readonly Migration[] = released,
): Promise<readonly string[]> {
  const guard = new pg.Client({ connectionString: url, application_name: 'berth-migrate' });
  await guard.connect();
  try {
    await guard.query('SELECT pg_advisory_lock($1)', [lockKey]);
    await refuseNewer(guard, steps);
    const source = new DataSource({
      type: 'postgres',
      extra: { connectionString: url, max: 2 },
      migrations: steps.map(toClass),
      migrationsTransactionMode: 'all',
      synchronize: false,
    });
    await source.initialize();
    try {
      return (await source.runMigrations()).map((m) => m.name);
    } finally {
      await source.destroy();
    }
  } finally {
    await guard.end();
  }
}

async function refuseNewer(client: pg.Client, steps: readonly Migration[]): Promise<void> {
  const table = await client.query<{ there: boolean }>(
    `SELECT to_regclass('migrations') IS NOT NULL AS there`,
  );
  if (table.rows[0]?.there !== true) return;
  const ran = await client.query<{ name: string }>('SELECT name FROM migrations ORDER BY id');
  const { unknown } = schemaDifference(
    ran.rows.map((r) => r.name),
    steps,
  );
  if (unknown.length > 0) throw new SchemaTooNew(unknown);
}

/** How a schema that took the steps `ran` differs from the one a release needs. */
export function schemaDifference(
  ran: readonly string[],
  steps: readonly Migration[] = released,
): { readonly missing: readonly string[]; readonly unknown: readonly string[] } {
  const needed = steps.map(className);
  return {
    missing: needed.filter((name) => !ran.includes(name)),
    unknown: ran.filter((name) => !needed.includes(name)),
  };
}
