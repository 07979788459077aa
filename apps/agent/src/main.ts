import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bootId } from '@berth/linux';
import { berthVersion } from '@berth/model';
import { pino } from 'pino';
import { runAgent } from './agent.js';
import { composeHost } from './compose.js';
import { ConfigError, readConfig } from './config.js';
import { readMachine } from './facts.js';
import { systemClock } from './system-clock.js';

async function readOptional(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw e;
  }
}

/** `agent [config.yaml | --version]`; the file defaults to `etc/berth/agent.yaml` below BERTH_ROOT and may be missing. */
async function main(): Promise<void> {
  if (process.argv[2] === '--version') return void process.stdout.write(`${berthVersion}\n`);
  const root = process.env['BERTH_ROOT'] || '/';
  const file = process.argv[2] ?? join(root, 'etc/berth/agent.yaml');
  const settings = readConfig(await readOptional(file), process.env);
  const log = pino({ level: settings.logLevel, base: { host: settings.hostName } });
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const)
    process.once(name, () => {
      log.info({ signal: name }, 'the agent ends; what runs goes on');
      stop.abort();
    });
  const parts = await composeHost(settings, log);
  await runAgent(
    {
      ...parts,
      settings,
      clock: systemClock,
      log,
      bootId: await Promise.resolve(bootId()),
      agentVersion: berthVersion,
      machine: readMachine(),
      readToken: () => readFile(settings.tokenFile, 'utf8'),
    },
    stop.signal,
  );
}

main()
  .catch((error: unknown) => {
    const known = error instanceof ConfigError;
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.stderr.write(known ? `${error.message}\n` : `berth agent: ${text}\n`);
    process.exitCode = 1;
  })
  // Connections and watchers of the runtimes would keep the process alive; all that counts is on disk by now.
  .finally(() => process.exit());
