import { spawnSync } from 'node:child_process';
import type { TerminalEnd, TerminalSize } from '@berth/model';
import { untilEscape, type EscapeKey } from './escape-key.js';
import { TerminalLine } from './terminal-line.js';
import { TerminalModes } from './terminal-modes.js';

/** Signals that end this program: the terminal is given back before. */
const endings = ['SIGTERM', 'SIGHUP'] as const;

export interface Lending {
  /** Leaves; all other keys go on, Ctrl-C among them. */
  readonly escape: EscapeKey;
  /** Whether what is typed is sent. */
  readonly typing: boolean;
  /** The host has opened it; called before the first output. */
  readonly opened?: () => void;
}

/** Size of the terminal that this program runs in; 80 by 24 where there is none, or nobody gave it a size. */
export function localSize(): TerminalSize {
  const { columns, rows } = process.stdout;
  return { columns: bounded(columns, 80), rows: bounded(rows, 24) };
}

const bounded = (n: number | undefined, absent: number): number =>
  n === undefined || n < 1 ? absent : Math.min(n, 1000);

/**
 * Lends the terminal that this program runs in to one of the API: keys go as they are typed, and every change of size. It is
 * given back as it was whatever happens. The result is how it ended; null when it was left. @throws as TerminalLine does
 */
export async function terminalLend(url: URL, lending: Lending): Promise<TerminalEnd | null> {
  const modes = new TerminalModes();
  let giveBack: () => void = () => undefined;
  const line = await TerminalLine.connect(url, {
    output: process.stdout,
    errorOutput: process.stderr,
    see: (bytes) => modes.see(bytes),
    opened: (opened) => {
      lending.opened?.();
      giveBack = lend(opened, lending, modes);
    },
  });
  return line.ended.finally(() => giveBack());
}

/** The result ends it; calling it again is no error. */
function lend(line: TerminalLine, { escape, typing }: Lending, modes: TerminalModes): () => void {
  const { stdin, stdout } = process;
  let lent = true;
  const typed = (bytes: Buffer): void => {
    const { send, left } = untilEscape(bytes, escape);
    stdin.pause();
    void (typing ? line.type(send) : Promise.resolve()).then(() => {
      if (left) line.leave();
      else if (lent) stdin.resume();
    });
  };
  const resized = (): void => void line.order({ type: 'resize', ...localSize() });
  const giveBack = (): void => {
    if (!lent) return;
    lent = false;
    stdin.off('data', typed).pause();
    stdout.off('resize', resized);
    for (const signal of endings) process.off(signal, end);
    stdin.setRawMode(false);
    stdout.write(modes.undo());
  };
  const end = (signal: NodeJS.Signals): void => {
    giveBack();
    process.kill(process.pid, signal);
  };
  stdin.setRawMode(true);
  // Node leaves "\n" becoming "\r\n" on, which spoils programs that move the cursor. Its way back undoes this too.
  spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'] });
  stdin.on('data', typed).resume();
  stdout.on('resize', resized);
  for (const signal of endings) process.once(signal, end);
  resized();
  return giveBack;
}
