import { escapeKey } from '../escape-key.js';
import { exitCodes, Failure } from '../failure.js';
import { terminalLend } from '../local-terminal.js';
import {
  examples,
  note,
  say,
  untilInterrupted,
  wholeNumber,
  type Commands,
  type Session,
} from '../session.js';
import { isTerminal } from '../terminal.js';
import { placeOf, vncServe } from '../vnc-serve.js';

interface ConsoleOptions {
  readonly readOnly: boolean;
  readonly scrollbackBytes?: number;
  readonly escape: string;
  readonly vnc: boolean;
  readonly listen?: string;
  readonly head?: number;
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
    .option(
      '--vnc',
      'its display instead: serves one VNC viewer of this machine at a time, until Ctrl-C',
      false,
    )
    .option('--head <n>', 'with --vnc, which of its screens, counted from 0, the first', (t) =>
      wholeNumber('--head', t),
    )
    .option(
      '--listen <place>',
      'with --vnc, a port of 127.0.0.1 or the path of a unix socket; a free port when absent',
    )
    .action(async (name: string, { escape, vnc, listen, head, ...options }: ConsoleOptions) => {
      const s = session();
      if (vnc) return display(s, name, { head, listen });
      if (listen !== undefined)
        throw new Failure(`--listen is for displays\n  -> Add --vnc, or leave it out`, exitCodes.usage);
      if (head !== undefined)
        throw new Failure(`--head is for displays\n  -> Add --vnc, or leave it out`, exitCodes.usage);
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
     berth console db --read-only --scrollback-bytes 1024
     berth console db --vnc
     berth console db --vnc --head 1`,
  );
};

/** Every viewer gets a ticket of its own. What is wrong with the instance is said before anything listens. */
async function display(
  s: Session,
  name: string,
  { head, listen }: { readonly head: number | undefined; readonly listen: string | undefined },
): Promise<void> {
  const ticket = (): Promise<URL> =>
    s.api.terminalAddress({
      project: s.project,
      instance: name,
      opens: { display: head === undefined ? {} : { head } },
    });
  const place = placeOf(listen);
  await ticket();
  await untilInterrupted((signal) =>
    vncServe({
      place,
      ticket,
      signal,
      ready: ({ address, viewer }) => {
        say(`${address}\n`);
        note(`the display of ${name} is served there, for one viewer at a time; Ctrl-C ends it`);
        note(`  -> ${viewer}`);
      },
      said: note,
    }),
  );
}
