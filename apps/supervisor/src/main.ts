import { parseArgs } from 'node:util';
import { stringify } from 'yaml';
import { configLoad, ConfigError } from './config.js';
import { daemonRun } from './daemon.js';
import { doctorCommand } from './doctor/command.js';
import { downCommand } from './down.js';
import { hostsOfLastUp } from './fleet.js';
import { pathsFor } from './paths.js';
import { Refusal } from './postgres.js';
import { statusCommand } from './status.js';
import { upCommand } from './up.js';

const usage = `usage:
  berth up [--hosts N] [--timeout SECONDS]              start everything in the background and wait until it serves
  berth down [--instances stop|leave] [--timeout SECONDS]  end it; instances stay by default
  berth status [--json]                                 what runs, where
  berth doctor [--json]                                 what this machine has and lacks
  berth config show                                     the effective configuration
`;

class UsageError extends Error {}

async function main(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parse(argv);
  if (values.help) return (process.stdout.write(usage), 0);
  const command = positionals[0];
  const paths = pathsFor(process.env['BERTH_ROOT'] || '/');
  const config = configLoad(paths.root, process.env);
  const seconds = wholeNumber('--timeout', values.timeout, 5, 86_400);
  const hosts = wholeNumber('--hosts', values.hosts, 1, 65);
  switch (command) {
    case 'up':
      mustBeRoot();
      await upCommand(paths, config, hosts ?? hostsOfLastUp(paths), (seconds ?? 180) * 1000);
      return 0;
    case 'down': {
      mustBeRoot();
      const instances = values.instances ?? 'leave';
      if (instances !== 'stop' && instances !== 'leave') throw new UsageError('--instances is stop or leave');
      await downCommand(paths, instances, (seconds ?? 120) * 1000);
      return 0;
    }
    case 'status':
      return statusCommand(paths, values.json);
    case 'doctor':
      return doctorCommand(paths, config, values.json);
    case 'config':
      if (positionals[1] !== 'show') throw new UsageError('berth config show');
      process.stdout.write(
        stringify({
          root: paths.root,
          ...config,
          ...(config.databaseUrl === undefined ? {} : { databaseUrl: hidden(config.databaseUrl) }),
        }),
      );
      return 0;
    case 'daemon':
      await daemonRun(paths, config, hosts ?? 1);
      return -1;
    default:
      throw new UsageError(`unknown command ${command ?? ''}`);
  }
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        hosts: { type: 'string' },
        timeout: { type: 'string' },
        instances: { type: 'string' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function wholeNumber(name: string, text: string | undefined, min: number, max: number): number | undefined {
  if (text === undefined) return undefined;
  const n = Number(text);
  if (!Number.isInteger(n) || n < min || n > max)
    throw new UsageError(`${name} is a whole number from ${min} to ${max}`);
  return n;
}

function mustBeRoot(): void {
  if (process.getuid?.() !== 0)
    throw new Refusal('Berth must run as root', 'It makes namespaces, bridges and cgroups: use sudo');
}

/** A database address without its password. */
function hidden(url: string): string {
  return url.replace(/^(\w+:\/\/[^:@/]+):[^@/]*@/, '$1:***@');
}

main(process.argv.slice(2)).then(
  (code) => {
    if (code >= 0) process.exitCode = code;
  },
  (error: Error) => {
    const expected = error instanceof UsageError || error instanceof Refusal || error instanceof ConfigError;
    process.stderr.write(`berth: ${error.message}\n${error instanceof UsageError ? usage : ''}`);
    if (!expected && process.env['BERTH_DEBUG'] !== undefined) process.stderr.write(`${error.stack}\n`);
    process.exitCode = error instanceof UsageError ? 2 : 1;
  },
);
