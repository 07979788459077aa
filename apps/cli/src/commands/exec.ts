import type { Schemas } from '@berth/client';
import type { TerminalEnd } from '@berth/model';
import { escapeKey } from '../escape-key.js';
import { exitCodes, Failure, ProgramEnded, type ExitCode } from '../failure.js';
import { localSize, terminalLend } from '../local-terminal.js';
import { pipedLine } from '../piped-line.js';
import { append, examples, type Commands } from '../session.js';
import { isTerminal } from '../terminal.js';

interface ExecOptions {
  readonly stdin: boolean;
  readonly tty: boolean;
  readonly env: string[];
  readonly user?: string;
  readonly workdir?: string;
  readonly escape: string;
}

export const execCommands: Commands = (program, session) => {
  const command = program
    .command('exec <name> <command...>')
    .description(
      'run a program in a running container or microVM, or by the guest agent in a VM; ends with its exit code',
    )
    .option('-i, --stdin', 'hand on what comes on the standard input', false)
    .option('-t, --tty', 'in a terminal of its own; -it is this terminal. Containers only', false)
    .option(
      '-e, --env <name=value>',
      'add to its environment; NAME alone takes the value from here',
      append,
      [],
    )
    .option('-u, --user <user>', "user[:group], by name or number; the container's own when absent")
    .option('-w, --workdir <path>', "where it starts; the container's own when absent")
    .option('--escape <key>', 'with -it, a key that leaves and ends the program, as ^]', 'none')
    .action(async (name: string, words: string[], options: ExecOptions) => {
      const key = escapeKey(options.escape);
      if (options.stdin && options.tty && !isTerminal(process.stdin))
        throw new Failure(
          '-t needs a terminal, and the standard input is none\n  -> Leave -t out: berth exec -i …',
          exitCodes.usage,
        );
      const s = session();
      const opens = { exec: opening(words, options) };
      const url = await s.api.terminalAddress({ project: s.project, instance: name, opens });
      const attached = options.stdin && options.tty;
      const end = await (attached
        ? terminalLend(url, { escape: key, typing: true })
        : pipedLine(url, { input: options.stdin ? 'fed' : 'none' }));
      if (end?.reason === 'exited') throw new ProgramEnded(end.code);
      throw new Failure(...unended(name, end));
    });
  examples(
    command,
    `berth exec cache -- echo hello
     berth exec -it cache -- sh
     echo hello | berth exec -i cache -- cat
     berth exec -e LANG=C -w /tmp cache -- env
     berth exec debian -- uname -r`,
  );
};

function opening(command: readonly string[], options: ExecOptions): Schemas['ExecOpen'] {
  const { tty, user, workdir, env } = options;
  return {
    command: [...command],
    tty,
    ...(tty ? { size: localSize() } : {}),
    ...(env.length === 0 ? {} : { env: Object.fromEntries(env.map(variable)) }),
    ...(user === undefined ? {} : { user }),
    ...(workdir === undefined ? {} : { workdir }),
  };
}

function variable(text: string): readonly [string, string] {
  const at = text.indexOf('=');
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
  const value = at === 0 ? undefined : process.env[text];
  if (value === undefined)
    throw new Failure(`--env ${text} has no value\n  -> Give NAME=value, or set NAME here`, exitCodes.usage);
  return [text, value];
}

function unended(name: string, end: Exclude<TerminalEnd, { reason: 'exited' }> | null): [string, ExitCode] {
  if (end === null) return ['left; the program is ended', exitCodes.interrupted];
  if (end.reason === 'failed') return [`the program did not run: ${end.message}`, exitCodes.failed];
  return [`${name} stopped running, and the program with it`, exitCodes.failed];
}
