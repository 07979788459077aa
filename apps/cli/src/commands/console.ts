import { escapeKey } from '../escape-key.js';
import { exitCodes, Failure } from '../failure.js';
import { terminalLend } from '../local-terminal.js';
import { examples, note, wholeNumber, type Commands } from '../session.js';
import { isTerminal } from '../terminal.js';

interface ConsoleOptions {
  readonly readOnly: boolean;
  readonly scrollbackBytes?: number;
  readonly escape: string;
}

export const consoleCommands: Commands = (program, session) => {
  const command = program
    .command('console <name>')
    .description('the serial console of a running VM, in this terminal; Ctrl-] leaves it')
    .option('--read-only', 'only look; what is typed goes nowhere', false)
    .option('--scrollback-bytes <n>', 'how much of what it printed comes first, 65536 when absent', (t) =>
      wholeNumber('--scrollback-bytes', t),
    )
    .option('--escape <key>', 'another key to leave with, as ^a; none for no key', '^]')
    .action(async (name: string, { escape, ...options }: ConsoleOptions) => {
      const s = session();
      const key = escapeKey(escape);
      if (!isTerminal(process.stdin) || !isTerminal(process.stdout))
        throw new Failure(
          `a console needs a terminal for its input and output\n  -> Without one, read what ${name} prints: berth logs -f ${name}`,
          exitCodes.usage,
        );
      const opens = { console: options };
      const url = await s.api.terminalAddress({ project: s.project, instance: name, opens });
      const end = await terminalLend(url, {
        escape: key,
        typing: !options.readOnly,
        opened: () => note(`console of ${name}: ${key.name} leaves it`),
      });
      note('');
      if (end === null) return note(`left the console of ${name}, which goes on`);
      if (end.reason === 'failed') throw new Failure(`the console of ${name} failed: ${end.message}`);
      note(`${name} does not run any more\n  -> Why: berth describe instance ${name}`);
    });
  examples(
    command,
    `berth console db
     berth console db --read-only --scrollback-bytes 1024`,
  );
};
