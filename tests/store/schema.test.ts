import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { migrate, SchemaTooNew } from '../../apps/api/src/store/migrate.js';
import { freshDatabase, startPostgres, withClient } from '../support/postgres.js';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { dumpSchema } from '../../migrations/dump-schema.js';
import { migrations } from '../../migrations/index.js';

let cluster: ThrowawayPostgres;
beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(() => cluster.stop());

test('migrations are in the order of their numbers, no number twice', () => {
  const numbers = migrations.map((m) => m.version);
  expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
});

test('a migrated database is exactly the committed schema.sql', async () => {
  const url = await freshDatabase(cluster.url);
  await migrate(url);
  const dumped = await dumpSchema(url);
  const committed = new URL('../../migrations/schema.sql', import.meta.url);
  if (process.env['BERTH_UPDATE_SCHEMA'] === '1') writeFileSync(committed, dumped);
  expect(dumped).toBe(readFileSync(committed, 'utf8'));
});

test('migrating a migrated database does nothing', async () => {
  const url = await freshDatabase(cluster.url);
  expect(await migrate(url)).toHaveLength(migrations.length);
  expect(await migrate(url)).toEqual([]);
});

test('two migrators at once run each step once, and both end well', async () => {
  const url = await freshDatabase(cluster.url);
  const ran = await Promise.all([migrate(url), migrate(url), migrate(url)]);
  expect(ran.map((r) => r.length).sort()).toEqual([0, 0, migrations.length]);
});

test('a schema newer than the release is refused and left alone', async () => {
  const url = await freshDatabase(cluster.url);
  const future = {
    version: (migrations.at(-1)?.version ?? 0) + 1,
    name: 'FromTheFuture',
    sql: 'CREATE TABLE tomorrow (id int)',
  };
  await migrate(url, [...migrations, future]);
  await expect(migrate(url)).rejects.toThrow(SchemaTooNew);
  await expect(migrate(url)).rejects.toThrow(/FromTheFuture.*newer release/);
  const tomorrow = await withClient(url, (c) =>
    c.query(`SELECT to_regclass('tomorrow') IS NOT NULL AS there`),
  );
  expect(tomorrow.rows).toEqual([{ there: true }]);
});

test('a step that fails leaves the database as it was before', async () => {
  const url = await freshDatabase(cluster.url);
  const broken = {
    version: (migrations.at(-1)?.version ?? 0) + 1,
    name: 'Broken',
    sql: 'CREATE TABLE half (id int); SELECT 1/0',
  };
  await expect(migrate(url, [...migrations, broken])).rejects.toThrow(/division by zero/);
  const left = await withClient(url, (c) =>
    c.query(`SELECT to_regclass('half') AS half, to_regclass('projects') AS projects`),
  );
  expect(left.rows).toEqual([{ half: null, projects: null }]);
});
