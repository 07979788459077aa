import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** Lines that differ between minor versions and runs of pg_dump, and say nothing about the schema. */
const noise = /^(\\restrict |\\unrestrict |-- Dumped (from|by) |SET transaction_timeout)/;

/**
 * The schema of a migrated database as committed in schema.sql. Regenerate it after a new migration with
 * `BERTH_UPDATE_SCHEMA=1 npx vitest run tests/store/schema`.
 */
export async function dumpSchema(
  url: string,
  pgDump = '/usr/lib/postgresql/15/bin/pg_dump',
): Promise<string> {
  const { stdout } = await promisify(execFile)(
    pgDump,
    ['--schema-only', '--no-owner', '--no-privileges', `--dbname=${url}`],
    {
      maxBuffer: 32 * 1024 * 1024,
    },
  );
  const lines = stdout.split('\n').filter((line) => !noise.test(line));
  return `${lines
    .join('\n')
    .replace(/\n{3,}/g, '\n\n')
    .trim()}\n`;
}
