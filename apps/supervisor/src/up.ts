import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Config } from './config.js';
import { controlAsk } from './control.js';
import type { FleetStatus } from './fleet.js';
import type { Paths } from './paths.js';
import { Refusal } from './postgres.js';
import { sleep } from './wait.js';

const main = fileURLToPath(new URL('./main.js', import.meta.url));
const say = (line: string): void => void process.stdout.write(`${line}\n`);

/**
 * Brings Berth up in the background and waits until the API and all hosts are ready.
 * @throws Error with the last log lines of what did not come up.
 */
export async function upCommand(
  paths: Paths,
  config: Config,
  hosts: number,
  timeoutMs: number,
): Promise<void> {
  const begun = Date.now();
  let status = await controlAsk(paths.controlSocket, 'GET', '/status');
  if (status === null) {
    for (const [port, key] of [
      [config.apiPort, 'apiPort'],
      [config.linkPort, 'linkPort'],
    ] as const)
      await portFree(port, key);
    say('starting the supervisor');
    status = await daemonStart(paths, hosts);
  } else {
    await controlAsk(paths.controlSocket, 'POST', '/up', { hosts: Math.max(hosts, status.hosts) });
  }
  await untilUp(paths, begun + timeoutMs);
  const seconds = ((Date.now() - begun) / 1000).toFixed(1);
  say(`Berth is up after ${seconds} s. API: http://127.0.0.1:${config.apiPort}`);
  say(`Dashboard: http://127.0.0.1:${config.apiPort}/ui/ (./berth sign-in gives a code for it)`);
}

async function portFree(port: number, key: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new Refusal(
          `port ${port} cannot be used (${error.code})`,
          `End what listens there (ss -ltnp), or set another ${key} in berth.yaml or the environment`,
        ),
      ),
    );
    server.listen(port, '127.0.0.1', () => server.close(() => resolve()));
  });
}

async function daemonStart(paths: Paths, hosts: number): Promise<FleetStatus> {
  for (const dir of [paths.run, paths.log]) mkdirSync(dir, { recursive: true, mode: 0o755 });
  const logFile = join(paths.log, 'supervisor.log');
  const log = openSync(logFile, 'a', 0o640);
  // The lock is held by the daemon itself, as long as it lives: there is never a second one below the same root.
  const child = spawn(
    'flock',
    ['-n', '-F', paths.supervisorLock, process.execPath, main, 'daemon', '--hosts', String(hosts)],
    { detached: true, stdio: ['ignore', log, log], cwd: '/' },
  );
  closeSync(log);
  let ended: string | null = null;
  child.once('error', (error) => (ended = error.message));
  child.once('exit', (code, signal) => (ended = `it ended (${code ?? signal})`));
  child.unref();
  const deadline = Date.now() + 15_000;
  for (;;) {
    const status = await controlAsk(paths.controlSocket, 'GET', '/status');
    if (status !== null) return status;
    if (ended !== null) throw new Error(`the supervisor did not start: ${ended}\n${lastLines(logFile)}`);
    if (Date.now() > deadline) throw new Error(`the supervisor does not answer\n${lastLines(logFile)}`);
    await sleep(20);
  }
}

async function untilUp(paths: Paths, deadline: number): Promise<void> {
  let shown = '';
  for (;;) {
    const status = await controlAsk(paths.controlSocket, 'GET', '/status');
    if (status === null)
      throw new Error(`the supervisor ended meanwhile\n${lastLines(join(paths.log, 'supervisor.log'))}`);
    const line = progressLine(status);
    if (line !== shown) say((shown = line));
    if (status.up) return;
    if (status.error !== null) throw new Error(`${status.step} failed: ${status.error}`);
    const failing = status.components.find((c) => c.restarts >= 4 && c.state !== 'ready');
    if (failing !== undefined || Date.now() > deadline) throw new Error(notUp(status));
    await sleep(100);
  }
}

/** One line on how far it is. */
export function progressLine(status: FleetStatus): string {
  const serving = status.components.filter((c) => c.state === 'ready' || c.state === 'external');
  // Per host two libvirt daemons and an agent; the API; Postgres unless another is used.
  const total = Math.max(status.components.length, 3 * status.hosts + 1);
  const busy = status.components.find((c) => c.state === 'starting' || c.state === 'backoff');
  const detail = busy === undefined || busy.message === '' ? '' : ` (${busy.name}: ${busy.message})`;
  return status.up
    ? `[${serving.length}/${serving.length}] everything serves`
    : `[${serving.length}/${total}] ${status.step}${detail}`;
}

function notUp(status: FleetStatus): string {
  const bad = status.components.filter((c) => c.state !== 'ready' && c.state !== 'external');
  const parts = bad.map(
    (c) => `${c.name} is ${c.state}: ${c.message}\n  ${c.logFile} ends with:\n${lastLines(c.logFile)}`,
  );
  return [
    `Berth did not come up (${status.step}).`,
    ...parts,
    'The supervisor goes on trying. See ./berth status and ./berth doctor; end it with ./berth down.',
  ].join('\n');
}

/** The end of a log, indented. */
export function lastLines(file: string, count = 12): string {
  try {
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n').slice(-count);
    return lines.map((l) => `    ${l}`).join('\n');
  } catch {
    return '    (no log yet)';
  }
}
