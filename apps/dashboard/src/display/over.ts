import type { TerminalState } from '../terminal/state.js';

/** Codes of the close (docs/api-streams.md). */
const done = 1000;

/** What is said of a display whose connection closed. Pure. */
export function overOf(code: number, reason: string, opened: boolean): TerminalState {
  if (reason !== '') return { at: 'over', text: reason, remedy: null, bad: code !== done };
  return opened
    ? { at: 'over', text: 'The connection to Berth broke.', remedy: 'The machine goes on.', bad: true }
    : {
        at: 'over',
        text: 'The display could not be opened.',
        remedy: 'Connect again: a ticket is good for half a minute.',
        bad: true,
      };
}
