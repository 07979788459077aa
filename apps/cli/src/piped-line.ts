import type { TerminalEnd } from '@berth/model';
import { TerminalLine } from './terminal-line.js';

export interface Piping {
  /**
   * `fed`: what comes on the standard input is its input, and so is its end. `open`: the same without its end, which others may go on
   * with. `none`: it has none.
   */
  readonly input: 'fed' | 'open' | 'none';
  /** The host has opened it. */
  readonly opened?: () => void;
}

/**
 * A terminal of the API without one here: output and error output stay apart. Ctrl-C leaves; the result is null then. @throws as
 * TerminalLine does
 */
export async function pipedLine(url: URL, { input, opened }: Piping): Promise<TerminalEnd | null> {
  const line = await TerminalLine.connect(url, {
    output: process.stdout,
    errorOutput: process.stderr,
    ...(opened === undefined ? {} : { opened }),
  });
  const interrupt = (): void => line.leave();
  process.once('SIGINT', interrupt);
  const feed = input === 'none' ? line.order({ type: 'endInput' }) : inputFeed(line, input === 'fed');
  try {
    return await line.ended;
  } finally {
    process.off('SIGINT', interrupt);
    if (input !== 'none') process.stdin.destroy();
    await feed;
  }
}

async function inputFeed(line: TerminalLine, ends: boolean): Promise<void> {
  try {
    for await (const chunk of process.stdin) await line.type(chunk as Buffer);
  } catch (error) {
    // The program ended before its input did.
    if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
  }
  if (ends) await line.order({ type: 'endInput' });
}
