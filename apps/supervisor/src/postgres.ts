import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { run } from '@berth/linux';
import type { Component, ComponentSpec } from './component.js';
import { socketAnswers } from './libvirt.js';
import { maxSocketPath, type Paths } from './paths.js';

const serverRoot = '/usr/lib/postgresql';
const oldestMajor = 15;
const socketName = '.s.PGSQL.5432';
const awaited = 'waiting for the server to answer';

/** An unmet condition with what to do about it. */
export class Refusal extends Error {
  override name = 'Refusal';
  constructor(
    message: string,
    readonly remedy: string,
  ) {
    super(`${message}. ${remedy}`);
  }
}

/** Major versions of the installed servers, newest first. */
export function postgresMajors(root: string = serverRoot): number[] {
  if (!existsSync(root)) return [];
  return readdirSync(root)
    .map(Number)
    .filter((n) => Number.isInteger(n) && existsSync(join(root, String(n), 'bin/postgres')))
    .sort((a, b) => b - a);
}

/**
 * Which server serves this cluster: the one that made it, for a new one the newest.
 * @throws Refusal when the cluster needs a server that is not installed.
 */
export function postgresMajorFor(clusterVersion: string | null, installed: readonly number[]): number {
  if (clusterVersion === null) {
    const newest = installed[0];
    if (newest === undefined || newest < oldestMajor)
      throw new Refusal(
        `no Postgres server ${oldestMajor} or newer is installed`,
        'Install it (apt-get install postgresql-15) or set DATABASE_URL',
      );
    return newest;
  }
  const major = Number(clusterVersion);
  if (!installed.includes(major))
    throw new Refusal(
      `the cluster was made by Postgres ${clusterVersion}, and installed is ${installed.join(', ') || 'none'}`,
      `Install postgresql-${clusterVersion}, or move the data with pg_upgrade`,
    );
  return major;
}

function clusterVersion(data: string): string | null {
  const file = join(data, 'PG_VERSION');
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : null;
}

const asPostgres = ['--reuid=postgres', '--regid=postgres', '--init-groups'];

/** The address the API uses: its own role over the unix socket; root is let in by a map, without a password. */
export function postgresUrl(paths: Paths): string {
  return `postgresql://berth@localhost/berth?host=${encodeURIComponent(paths.postgresSocketDir)}`;
}

/** Postgres below Berth's state directory: no TCP, reached by root over a unix socket, ends with the supervisor. */
export function postgresComponent(paths: Paths): ComponentSpec {
  const data = paths.postgresData;
  const bin = (name: string): string =>
    join(serverRoot, String(postgresMajorFor(clusterVersion(data), postgresMajors())), 'bin', name);
  const psql = (db: string, sql: string): ReturnType<typeof run> =>
    run(
      bin('psql'),
      [
        '-X',
        '-A',
        '-t',
        '-v',
        'ON_ERROR_STOP=1',
        '-h',
        paths.postgresSocketDir,
        '-U',
        'postgres',
        '-d',
        db,
        '-c',
        sql,
      ],
      {
        timeoutMs: 10_000,
      },
    );
  return {
    name: 'postgres',
    command: 'setpriv',
    args: () => [
      ...asPostgres,
      '--pdeathsig=INT',
      bin('postgres'),
      ...['-D', data, '-k', paths.postgresSocketDir],
      ...['-c', 'listen_addresses=', '-c', 'max_connections=200', '-c', 'cluster_name=berth'],
    ],
    cwd: '/',
    logFile: join(paths.log, 'postgres.log'),
    record: join(paths.components, 'postgres.json'),
    outlives: false,
    stopSignal: 'SIGINT',
    stopTimeoutMs: 30_000,
    address: paths.postgresSocketDir,
    prepare: async () => clusterPrepare(paths, bin),
    ready: async () => {
      // A look at the socket first: each psql that finds nobody is a process more while everyone waits for this one.
      if (!(await socketAnswers(join(paths.postgresSocketDir, socketName)))) return awaited;
      try {
        await psql('berth', 'select 1');
        return null;
      } catch {
        return databaseCreate(psql);
      }
    },
  };
}

async function databaseCreate(
  psql: (db: string, sql: string) => ReturnType<typeof run>,
): Promise<string | null> {
  try {
    if ((await psql('postgres', `select 1 from pg_roles where rolname = 'berth'`)).stdout.trim() === '')
      await psql('postgres', 'create role berth login createdb');
    await psql('postgres', 'create database berth owner berth');
    return null;
  } catch {
    return awaited;
  }
}

async function clusterPrepare(paths: Paths, bin: (name: string) => string): Promise<void> {
  const longest = join(paths.postgresSocketDir, socketName);
  if (longest.length > maxSocketPath)
    throw new Refusal(
      `the socket name ${longest} has ${longest.length} characters, Linux allows ${maxSocketPath}`,
      'Set BERTH_ROOT to a shorter directory',
    );
  const { uid, gid } = await postgresUser();
  for (const dir of [paths.postgresData, paths.postgresSocketDir]) {
    mkdirSync(dirname(dir), { recursive: true, mode: 0o711 });
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    chownSync(dir, uid, gid);
  }
  await run('setpriv', [...asPostgres, 'test', '-x', paths.postgresData]).catch(() => {
    throw new Refusal(
      `the user postgres cannot reach ${paths.postgresData}`,
      `Let others enter its parent directories (chmod o+x)`,
    );
  });
  if (clusterVersion(paths.postgresData) !== null) {
    bin('postgres');
    return;
  }
  await clusterInit(paths, bin);
}

async function clusterInit(paths: Paths, bin: (name: string) => string): Promise<void> {
  const making = `${paths.postgresData}.making`;
  rmSync(making, { recursive: true, force: true });
  const { uid, gid } = await postgresUser();
  mkdirSync(making, { mode: 0o700 });
  chownSync(making, uid, gid);
  const options = [
    '--auth=peer',
    '--encoding=UTF8',
    '--locale=C.UTF-8',
    '--data-checksums',
    '--username=postgres',
  ];
  await run('setpriv', [...asPostgres, bin('initdb'), '-D', making, ...options], {
    timeoutMs: 120_000,
    cwd: '/',
    env: { PATH: process.env['PATH'] ?? '' },
  });
  const own = (name: string, text: string): void => {
    writeFileSync(join(making, name), text, { mode: 0o600 });
    chownSync(join(making, name), uid, gid);
  };
  own('pg_hba.conf', '# Only over the unix socket, and only as who you are.\nlocal all all peer map=berth\n');
  own('pg_ident.conf', 'berth root berth\nberth root postgres\nberth postgres postgres\n');
  rmSync(paths.postgresData, { recursive: true, force: true });
  await run('mv', ['-T', making, paths.postgresData]);
}

async function postgresUser(): Promise<{ uid: number; gid: number }> {
  const { stdout } = await run('getent', ['passwd', 'postgres']).catch(() => {
    throw new Refusal('there is no user postgres', 'Install the package postgresql-15');
  });
  const [, , uid, gid] = stdout.split(':');
  return { uid: Number(uid), gid: Number(gid) };
}

/** Resolves when a component serves; for steps that need it. */
export async function serving(component: Component, signal: AbortSignal): Promise<void> {
  component.start();
  await component.whenReady(signal);
}
