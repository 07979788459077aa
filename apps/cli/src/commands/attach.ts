import type { Schemas } from '@berth/client';
import { answer } from '@berth/client';
import type { TerminalEnd } from '@berth/model';
import { escapeKey } from '../escape-key.js';
import { Failure, ProgramEnded } from '../failure.js';
import { localSize, terminalLend } from '../local-terminal.js';
import { pipedLine } from '../piped-line.js';
import { examples, note, ofInstance, wholeNumber, type Commands } from '../session.js';
import { isTerminal } from '../terminal.js';

interface AttachOptions {
  readonly readOnly: boolean;
  readonly scrollbackBytes?: number;
  readonly escape: string;
}

export const attachCommands: Commands = (program, session) => {
  const command = program
    .command('attach <name>')
    .description(
      'the first process of a running container: what it prints and, with process.stdin or process.tty in its spec, its input; it goes on when you leave',
    )
    .option('--read-only', 'only look; what is typed goes nowhere', false)
    .option('--scrollback-bytes <n>', 'how much of what it printed comes first, 65536 when absent', (t) =>
      wholeNumber('--scrollback-bytes', t),
    )
    .option('--escape <key>', 'at its terminal, another key to leave with, as ^a; none for no key', '^]')
    .action(async (name: string, options: AttachOptions) => {
      const key = escapeKey(options.escape);
      const s = session();
      const path = '/v1/projects/{project}/instances/{name}';
      const { spec } = await answer(s.api.rest.GET(path, { params: ofInstance(s, name) }));
      const { stdin = false, tty = false } = spec.process ?? {};
      const readOnly = options.readOnly || (!stdin && !tty);
      const lent = tty && isTerminal(process.stdin) && isTerminal(process.stdout);
      const attach: Schemas['AttachOpen'] = {
        readOnly,
        ...(options.scrollbackBytes === undefined ? {} : { scrollbackBytes: options.scrollbackBytes }),
        ...(lent ? { size: localSize() } : {}),
      };
      const url = await s.api.terminalAddress({ project: s.project, instance: name, opens: { attach } });
      const how = readOnly && !options.readOnly ? 'it has no input' : 'it is told nothing';
      const opened = (): void =>
        note(
          `attached to ${name}: ${lent ? key.name : 'Ctrl-C'} leaves it, and it goes on${readOnly ? `; ${how}` : ''}`,
        );
      const end = await (lent
        ? terminalLend(url, { escape: key, typing: !readOnly, opened })
        : pipedLine(url, { input: readOnly ? 'none' : 'open', opened }));
      if (lent) note('');
      told(name, end);
    });
  examples(
    command,
    `berth attach worker
     berth attach --read-only --scrollback-bytes 1024 worker`,
  );
};

/** The process' own exit code is the command's. @throws Failure, ProgramEnded */
function told(name: string, end: TerminalEnd | null): void {
  if (end === null) return note(`left ${name}, which goes on`);
  if (end.reason === 'failed') throw new Failure(`attaching to ${name} failed: ${end.message}`);
  note(`${name} does not run any more\n  -> Why: berth describe instance ${name}`);
  const code = end.reason === 'workloadEnded' ? end.exit?.code : end.code;
  if (code !== undefined && code !== null && code !== 0) throw new ProgramEnded(code);
}
