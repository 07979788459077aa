import type { TerminalMessage } from '@berth/client';

/** How a terminal stands. */
export type TerminalState =
  | { readonly at: 'opening' }
  | { readonly at: 'open' }
  /** Nothing comes any more. `bad`: something went wrong. */
  | { readonly at: 'over'; readonly text: string; readonly remedy: string | null; readonly bad: boolean };

/** What is said of a terminal whose connection closed, by the last notice that came; null when none did. Pure. */
export function overOf(last: TerminalMessage | null, opened: boolean): TerminalState {
  if (last?.type === 'problem') return over(last.problem.detail, last.problem.remedy ?? null);
  if (last?.type !== 'exit')
    return opened
      ? over('The connection to Berth broke.', 'What ran in the terminal has ended.')
      : over('The terminal could not be opened.', 'Connect again: a ticket is good for half a minute.');
  const { end } = last;
  if (end.reason === 'failed') return over(`It did not run: ${end.message}`, null);
  if (end.reason === 'workloadEnded')
    return { at: 'over', text: 'The instance does not run any more.', remedy: null, bad: false };
  return { at: 'over', text: `The program ended with code ${end.code}.`, remedy: null, bad: end.code !== 0 };
}

const over = (text: string, remedy: string | null): TerminalState => ({
  at: 'over',
  text,
  remedy,
  bad: true,
});

/** Whether a terminal can be asked for in this state of an instance. */
export const runs = (state: string): boolean => state === 'running' || state === 'paused';
