import { constants, existsSync } from 'node:fs';
import { access } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Config } from '../../config.js';
import { controlAsk } from '../../control.js';
import { socketAnswers } from '../../libvirt.js';
import type { Paths } from '../../paths.js';
import { postgresMajorFor, postgresMajors } from '../../postgres.js';
import type { ServiceFindings } from '../services.js';
import { attempt, read } from './attempt.js';

export async function serviceFindings(paths: Paths, config: Config): Promise<ServiceFindings> {
  return {
    postgres: config.databaseUrl === undefined ? await attempt(() => postgresTry(paths)) : null,
    libvirt: await libvirtState(),
    running: (await controlAsk(paths.controlSocket, 'GET', '/status').catch(() => null)) !== null,
    portsTaken: await portsTaken(config),
  };
}

async function postgresTry(paths: Paths): Promise<void> {
  const version = read(join(paths.postgresData, 'PG_VERSION'));
  const major = postgresMajorFor(version === null ? null : version.trim(), postgresMajors());
  await access(`/usr/lib/postgresql/${major}/bin/initdb`, constants.X_OK);
}

async function libvirtState(): Promise<ServiceFindings['libvirt']> {
  if (await socketAnswers('/run/libvirt/libvirt-sock')) return 'answers';
  return existsSync('/usr/sbin/libvirtd') ? 'absent' : 'notInstalled';
}

async function portsTaken(config: Config): Promise<ServiceFindings['portsTaken']> {
  const wanted = [
    { port: config.apiPort, key: 'apiPort' },
    { port: config.linkPort, key: 'linkPort' },
  ];
  const taken = await Promise.all(
    wanted.map(async (p) => {
      const reason = await attempt(() => listenTry(p.port));
      return reason === null ? [] : [{ ...p, reason }];
    }),
  );
  return taken.flat();
}

function listenTry(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => server.close(() => resolve()));
  });
}
