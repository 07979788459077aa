import { Command, CommanderError, Option } from 'commander';
import { BerthClient } from '@berth/client';
import { actCommands } from './commands/act.js';
import { attachCommands } from './commands/attach.js';
import { cdromCommands } from './commands/cdrom.js';
import { cloudInitCommands } from './commands/cloud-init.js';
import { completionCommands } from './commands/completion.js';
import { consoleCommands } from './commands/console.js';
import { createCommands } from './commands/create.js';
import { demoCommands } from './commands/demo.js';
import { describeCommands } from './commands/describe.js';
import { eventsCommands } from './commands/events.js';
import { cpCommands } from './commands/cp.js';
import { execCommands } from './commands/exec.js';
import { explainCommands } from './commands/explain.js';
import { getCommands } from './commands/get.js';
import { guestCommands } from './commands/guest.js';
import { hostCommands } from './commands/host.js';
import { imageCommands } from './commands/image.js';
import { layerCommands } from './commands/layer.js';
import { logsCommands } from './commands/logs.js';
import { networkCommands } from './commands/network.js';
import { operationCommands } from './commands/operation.js';
import { projectCommands } from './commands/project.js';
import { registryCommands } from './commands/registry.js';
import { secretCommands } from './commands/secret.js';
import { screenCommands } from './commands/screen.js';
import { signInCommands } from './commands/sign-in.js';
import { statsCommands } from './commands/stats.js';
import { tokenCommands } from './commands/token.js';
import { topCommands } from './commands/top.js';
import { waitCommands } from './commands/wait.js';
import { updateCommands } from './commands/update.js';
import { snapshotCommands } from './commands/snapshot.js';
import { publishCommands } from './commands/publish.js';
import { securityGroupCommands } from './commands/security-group.js';
import { volumeCommands } from './commands/volume.js';
import { docsText } from './docs.js';
import { exitCodes, exitMeanings, Failure, failureFrom, ProgramEnded } from './failure.js';
import { httpSend } from './http-send.js';
import { formats, type Format } from './output.js';
import { examples, say, type Commands, type Session } from './session.js';
import { targetFrom, type Target } from './target.js';
import { plainText } from './terminal.js';

interface GlobalOptions {
  readonly api?: string;
  readonly token?: string;
  readonly project: string;
  readonly output: Format;
}

/** In the order in which help lists them. */
const groups: readonly Commands[] = [
  getCommands,
  describeCommands,
  explainCommands,
  createCommands,
  updateCommands,
  actCommands,
  waitCommands,
  logsCommands,
  consoleCommands,
  screenCommands,
  execCommands,
  attachCommands,
  cpCommands,
  guestCommands,
  topCommands,
  statsCommands,
  cloudInitCommands,
  eventsCommands,
  operationCommands,
  layerCommands,
  imageCommands,
  registryCommands,
  secretCommands,
  cdromCommands,
  volumeCommands,
  snapshotCommands,
  networkCommands,
  publishCommands,
  securityGroupCommands,
  hostCommands,
  projectCommands,
  tokenCommands,
];

/** Names for the tab key are asked for once and given up soon, milliseconds. */
const completionTimeoutMs = 700;

/** The whole command line. */
export function programMake(env: NodeJS.ProcessEnv): Command {
  const program = new Command('berth')
    .description('Berth: virtual machines and containers across hosts, one API')
    .option('--api <url>', 'address of the API (BERTH_API)')
    .option('--token <token>', 'API token; better in BERTH_TOKEN, where other users do not see it')
    .option('-p, --project <name>', 'project (BERTH_PROJECT)', env['BERTH_PROJECT'] ?? 'default')
    .addOption(new Option('-o, --output <format>', 'how to print').choices([...formats]).default('table'))
    .addHelpText(
      'after',
      `\nThis machine:\n  up, down, status, doctor, config show, demo, test, bench\n\n${exitText()}`,
    )
    .exitOverride();
  const target = (): Target => targetFrom(env, program.opts<GlobalOptions>());
  const session = (): Session => {
    const { project, output } = program.opts<GlobalOptions>();
    return { api: new BerthClient({ ...target(), fetch: httpSend }), project, format: output };
  };
  for (const add of groups) add(program, session);
  const impatient = { fetch: httpSend, backoffMs: [], answerTimeoutMs: completionTimeoutMs };
  completionCommands(program, () => ({
    api: () => new BerthClient({ ...target(), ...impatient }),
    project: program.opts<GlobalOptions>().project,
  }));
  signInCommands(program, session, () => target().baseUrl);
  demoCommands(program, session, () => target().baseUrl);
  program.command('__docs', { hidden: true }).action(() => say(docsText(program)));
  examples(program, 'berth get instances -o wide\nberth create --help');
  // Options after the sub-command are the same options: `berth get instances -o json`.
  for (const command of everyCommand(program))
    command.exitOverride().configureHelp({ showGlobalOptions: true });
  return program;
}

export function everyCommand(command: Command): Command[] {
  return command.commands.flatMap((c) => [c, ...everyCommand(c)]);
}

function exitText(): string {
  const names = Object.keys(exitCodes) as (keyof typeof exitCodes)[];
  const lines = names.map((name) => `  ${String(exitCodes[name]).padEnd(3)}  ${exitMeanings[name]}`);
  return `Exit codes:\n${lines.join('\n')}`;
}

/** Runs one command line. The result is the exit code. */
export async function cliRun(argv: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  try {
    await programMake(env).parseAsync([...argv], { from: 'user' });
    return exitCodes.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    if (error instanceof ProgramEnded) return error.exitCode;
    const failure = failureFrom(error);
    if (failure.message !== '') process.stderr.write(`berth: ${plainText(failure.message)}\n`);
    if (!(error instanceof Failure) && env['BERTH_DEBUG'] !== undefined)
      process.stderr.write(`${(error as Error).stack}\n`);
    return failure.exitCode;
  }
}
