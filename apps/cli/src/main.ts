import { fileURLToPath } from 'node:url';
import { Command, CommanderError, Option } from 'commander';
import { adminCommands, readCommands, wholeNumber, writeCommands, type Session } from './commands.js';
import { BerthClient } from '@berth/client';
import { demoRun } from './demo.js';
import { exitCodes, Failure, failureFrom } from './failure.js';
import { httpSend } from './http-send.js';
import { formats, type Format } from './output.js';
import { targetFrom } from './target.js';

interface GlobalOptions {
  readonly api?: string;
  readonly token?: string;
  readonly project: string;
  readonly output: Format;
}

/** The whole command line. */
export function programMake(env: NodeJS.ProcessEnv): Command {
  const program = new Command('berth')
    .description('Berth: virtual machines and containers across hosts, one API')
    .option('--api <url>', 'address of the API (BERTH_API)')
    .option('--token <token>', 'API token; better in BERTH_TOKEN, where other users do not see it')
    .option('-p, --project <name>', 'project', env['BERTH_PROJECT'] ?? 'default')
    .addOption(new Option('-o, --output <format>', 'how to print').choices([...formats]).default('table'))
    .addHelpText(
      'after',
      '\nThis machine:\n  up, down, status, doctor, config show, test   ./berth up --help tells more\n' +
        '\nExit codes: 0 done, 1 failed, 2 usage, 3 API unreachable, 4 not found, 5 refused, 6 time-out, 130 interrupted\n',
    )
    .exitOverride();
  const session = (): Session => {
    const options = program.opts<GlobalOptions>();
    return {
      api: new BerthClient({ ...targetFrom(env, options), fetch: httpSend }),
      project: options.project,
      format: options.output,
    };
  };
  readCommands(program, session);
  writeCommands(program, session);
  adminCommands(program, session);
  program
    .command('demo')
    .description('run the example VM and container with a new nonce, until each came back')
    .requiredOption('--samples <dir>', 'directory of the built sample images')
    .option('--timeout <seconds>', 'longest wait', (t) => wholeNumber('--timeout', t), 180)
    .action(async (options: { samples: string; timeout: number }) => {
      const s = session();
      const examples = fileURLToPath(new URL('../../../examples', import.meta.url));
      await demoRun(s.api, {
        address: targetFrom(env, program.opts<GlobalOptions>()).baseUrl,
        project: s.project,
        samples: options.samples,
        examples,
        timeoutSeconds: options.timeout,
      });
    });
  // Options after the sub-command are the same options: `berth get instances -o json`.
  for (const command of everyCommand(program))
    command.exitOverride().configureHelp({ showGlobalOptions: true });
  return program;
}

function everyCommand(command: Command): Command[] {
  return command.commands.flatMap((c) => [c, ...everyCommand(c)]);
}

/** Runs one command line. The result is the exit code. */
export async function cliRun(argv: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  try {
    await programMake(env).parseAsync([...argv], { from: 'user' });
    return exitCodes.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    const failure = failureFrom(error);
    process.stderr.write(`berth: ${failure.message}\n`);
    if (!(error instanceof Failure) && env['BERTH_DEBUG'] !== undefined)
      process.stderr.write(`${(error as Error).stack}\n`);
    return failure.exitCode;
  }
}
