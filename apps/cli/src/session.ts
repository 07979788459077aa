import type { Command } from 'commander';
import type { BerthClient } from '@berth/client';
import { exitCodes, Failure } from './failure.js';
import type { Format } from './output.js';

/** What every command gets from the options before it. */
export interface Session {
  readonly api: BerthClient;
  readonly project: string;
  readonly format: Format;
}

/** A group of commands adds itself to the program; the session is made when one of them runs. */
export type Commands = (program: Command, session: () => Session) => void;

export const say = (text: string): void => void process.stdout.write(text);
/** For people: what is going on, never part of what a script reads. */
export const note = (line: string): void => void process.stderr.write(`${line}\n`);

export const inProject = (s: Session) => ({ path: { project: s.project } });
export const ofInstance = (s: Session, name: string) => ({ path: { project: s.project, name } });

/** Examples below a command's help. A test runs each of them as it stands. */
export function examples(command: Command, lines: string): Command {
  const text = lines
    .trim()
    .split('\n')
    .map((line) => `  ${line.trim()}`);
  return command.addHelpText('after', `\nExamples:\n${text.join('\n')}`);
}

export function wholeNumber(option: string, text: string): number {
  if (!/^\d{1,15}$/.test(text))
    throw new Failure(`${option} is a whole number, not ${text}`, exitCodes.usage);
  return Number(text);
}

export const append = (value: string, before: string[]): string[] => [...before, value];

/** Runs something that goes on until Ctrl-C. @throws Failure interrupted */
export async function untilInterrupted(run: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const interrupt = (): void => stop.abort();
  process.once('SIGINT', interrupt);
  try {
    await run(stop.signal);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    process.removeListener('SIGINT', interrupt);
  }
  if (stop.signal.aborted) throw new Failure('', exitCodes.interrupted);
}
