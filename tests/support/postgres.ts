import { execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chownSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';

const exec = promisify(execFile);
export const postgresBin = '/usr/lib/postgresql/15/bin';

export interface ThrowawayPostgres {
  /** Address of the cluster's `postgres` database. */
  readonly url: string;
  /** Directory of the unix socket (mode 0700, owned by postgres). */
  readonly dir: string;
  stop(): Promise<void>;
}

const asPostgres = ['--reuid=postgres', '--regid=postgres', '--init-groups'];

/** A cluster as initdb makes it, kept for the next file: a copy costs a tenth of making one. By Postgres' own version. */
const kept = new URL('../../.berth/test-postgres/', import.meta.url).pathname;

/** Makes a cluster's directory, which belongs to postgres. */
async function clusterMake(data: string): Promise<void> {
  const { stdout } = await exec(join(postgresBin, 'postgres'), ['--version']);
  const like = join(kept, /\d+\.\d+/.exec(stdout)?.[0] ?? 'unknown');
  if (existsSync(like)) return void (await exec('cp', ['-a', like, data]));
  const options = ['-A', 'trust', '-N', '-E', 'UTF8', '--locale=C'];
  await exec('setpriv', [...asPostgres, join(postgresBin, 'initdb'), '-D', data, ...options]);
  mkdirSync(kept, { recursive: true });
  const making = mkdtempSync(join(kept, '.making-'));
  await exec('cp', ['-a', data, join(making, 'data')]);
  try {
    renameSync(join(making, 'data'), like);
  } catch (error) {
    // Another file was quicker.
    if (!existsSync(like)) throw error;
  } finally {
    rmSync(making, { recursive: true });
  }
}

/** Memory, where there is enough: databases are hundreds of files each, made and dropped for every test. */
function clustersDir(): string {
  try {
    const { bavail, bsize } = statfsSync('/dev/shm');
    return bavail * bsize >= 2 * 2 ** 30 ? '/dev/shm' : tmpdir();
  } catch {
    return tmpdir();
  }
}

/**
 * A cluster of its own for one test file: unix socket only, no fsync, gone with `stop()` or with the test process
 * (the kernel interrupts it when its parent dies).
 */
export async function startPostgres(): Promise<ThrowawayPostgres> {
  const dir = mkdtempSync(join(clustersDir(), 'berth-pg-'));
  const { uid, gid } = await postgresUser();
  chownSync(dir, uid, gid);
  const data = join(dir, 'data');
  await clusterMake(data);
  const args = [
    '-D',
    data,
    '-k',
    dir,
    '-c',
    'listen_addresses=',
    '-c',
    'fsync=off',
    '-c',
    'full_page_writes=off',
  ];
  const server = spawn(
    'setpriv',
    [
      ...asPostgres,
      '--pdeathsig',
      'INT',
      join(postgresBin, 'postgres'),
      ...args,
      '-c',
      'max_connections=100',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let log = '';
  server.stderr.on('data', (chunk: Buffer) => (log = (log + chunk.toString()).slice(-4000)));
  const exited = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  const url = databaseUrl(dir, 'postgres');
  await untilAnswers(url, () => (server.exitCode === null ? null : log));
  return {
    url,
    dir,
    stop: async () => {
      server.kill('SIGINT');
      await exited;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function postgresUser(): Promise<{ uid: number; gid: number }> {
  const id = async (flag: string): Promise<number> => Number((await exec('id', [flag, 'postgres'])).stdout);
  return { uid: await id('-u'), gid: await id('-g') };
}

async function untilAnswers(url: string, dead: () => string | null): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    const client = new pg.Client({ connectionString: url });
    try {
      await client.connect();
      await client.end();
      return;
    } catch (error) {
      const log = dead();
      if (log !== null) throw new Error(`postgres did not start: ${log}`, { cause: error });
      if (tries > 400) throw error;
      await pause(25);
    }
  }
}

export const databaseUrl = (dir: string, database: string): string =>
  `postgres://postgres@/${database}?host=${encodeURIComponent(dir)}`;

/** An empty database, or a copy of `template`, in the cluster that `url` points to; returns its address. */
export async function freshDatabase(url: string, template?: string): Promise<string> {
  const name = `t_${randomUUID().replaceAll('-', '')}`;
  // Copied as files: by the log, which is the default, costs Postgres nearly twice as much.
  const copy = template === undefined ? '' : ` TEMPLATE ${databaseName(template)} STRATEGY FILE_COPY`;
  await withClient(url, (client) => client.query(`CREATE DATABASE ${name}${copy}`));
  return url.replace(/\/[^/?]+\?/, `/${name}?`);
}

export const databaseName = (url: string): string => /\/([^/?]+)\?/.exec(url)?.[1] ?? 'postgres';

/** Runs `work` on a connection of its own. */
export async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
