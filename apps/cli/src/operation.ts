import type { Command } from 'commander';
import { answer, ProblemError, type BerthClient, type Schemas } from '@berth/client';
import { exitCodes, Failure, failureFrom } from './failure.js';
import { reasonOf } from './kinds.js';
import { objectText } from './output.js';
import { note, say, wholeNumber, type Session } from './session.js';

export type Accepted = Schemas['Accepted'];
type Operation = Schemas['Operation'];

export interface Waiting {
  /** Longest wait. */
  readonly seconds: number;
  /** Gets a line whenever what is waited for changes. */
  readonly progress: (line: string) => void;
}

export interface WaitOptions {
  readonly wait: boolean;
  readonly timeout: number;
}

/** Options of every command that begins operations. */
export function waiting(command: Command): Command {
  return command
    .option('--no-wait', 'return when the request is recorded')
    .option('--timeout <seconds>', 'longest wait', (t) => wholeNumber('--timeout', t), 120);
}

/**
 * Sends each request in order and waits until all their operations have ended. One that is refused or fails does not keep
 * the others back. @throws Failure of the only one, or the first of several after all were told
 */
export async function accept(
  s: Session,
  options: WaitOptions,
  requests: readonly (() => Promise<Accepted>)[],
): Promise<void> {
  const failures: Failure[] = [];
  const fail = (error: unknown): null => {
    const failure = failureFrom(error);
    if (requests.length > 1 && failure.exitCode !== exitCodes.interrupted) note(`berth: ${failure.message}`);
    failures.push(failure);
    return null;
  };
  const ends: Promise<Accepted | null>[] = [];
  for (const request of requests) {
    const accepted = await request().catch(fail);
    if (accepted !== null) ends.push(ended(s, accepted, options).catch(fail));
  }
  const done = (await Promise.all(ends)).filter((d) => d !== null);
  if ((s.format === 'json' || s.format === 'yaml') && done.length > 0)
    say(objectText(requests.length === 1 ? done[0] : done, s.format));
  const [first] = failures;
  if (first === undefined) return;
  throw requests.length === 1
    ? first
    : new Failure(`${failures.length} of ${requests.length} did not succeed`, first.exitCode);
}

async function ended(s: Session, accepted: Accepted, options: WaitOptions): Promise<Accepted> {
  const operation = options.wait
    ? await operationEnd(s.api, accepted.operation, { seconds: options.timeout, progress: note })
    : accepted.operation;
  if (s.format === 'table' || s.format === 'wide') say(endText(operation));
  return { ...accepted, operation };
}

/** One line on how an operation stands. */
export function endText(o: Operation): string {
  const state = o.state === 'pending' ? 'recorded' : o.state;
  return `${o.target.name}: ${o.kind} ${state} (operation ${o.id})\n`;
}

const settled = ['succeeded', 'failed', 'cancelled', 'superseded'];

/**
 * Waits until an operation has ended. @throws Failure when it failed, had not ended in time, or Ctrl-C ended the waiting;
 * in the last two cases the operation goes on.
 */
export async function operationEnd(api: BerthClient, begun: Operation, waiting: Waiting): Promise<Operation> {
  const interrupted = new AbortController();
  const interrupt = (): void => interrupted.abort(new Error('interrupted'));
  process.once('SIGINT', interrupt);
  try {
    return await endAwait(api, begun, waiting, interrupted.signal);
  } finally {
    process.removeListener('SIGINT', interrupt);
  }
}

async function endAwait(
  api: BerthClient,
  begun: Operation,
  waiting: Waiting,
  signal: AbortSignal,
): Promise<Operation> {
  const deadline = Date.now() + waiting.seconds * 1000;
  let operation = begun;
  let shown = '';
  while (!settled.includes(operation.state)) {
    if (Date.now() >= deadline)
      throw goesOn(operation, `has not ended after ${waiting.seconds} s`, exitCodes.timeout);
    try {
      operation = await operationGet(api, operation.id, signal);
      if (settled.includes(operation.state)) break;
      const line = await stateLine(api, operation, signal);
      if (line !== shown) waiting.progress((shown = line));
    } catch (error) {
      if (!signal.aborted) throw error;
      throw goesOn(operation, 'is not waited for any longer', exitCodes.interrupted);
    }
  }
  if (operation.state === 'failed') throw failed(operation);
  return operation;
}

/** Answers when the operation has ended, or after a second: then it is time to look what it waits for. */
function operationGet(api: BerthClient, id: string, signal: AbortSignal): Promise<Operation> {
  const params = { path: { id }, query: { wait: 1 } };
  return answer(api.rest.GET('/v1/operations/{id}', { params, signal }));
}

async function stateLine(api: BerthClient, operation: Operation, signal: AbortSignal): Promise<string> {
  const { project, target } = operation;
  if (target.kind !== 'instance' || operation.steps.length > 0) return stepLine(operation);
  const params = { path: { project, name: target.name } };
  const path = '/v1/projects/{project}/instances/{name}';
  try {
    const instance = await answer(api.rest.GET(path, { params, signal }));
    const reason = reasonOf(instance);
    return `${target.name}: ${instance.status.state}${reason === null ? '' : `, ${reason}`}`;
  } catch (error) {
    if (error instanceof ProblemError && error.status === 404) return `${target.name}: gone`;
    throw error;
  }
}

function stepLine({ target, steps, progress }: Operation): string {
  const newest = steps.at(-1);
  if (newest === undefined) return `${target.name}: waits for its turn`;
  const words = newest.message === undefined ? newest.name : `${newest.name}, ${newest.message}`;
  return `${target.name}: ${words} (${progress} %)`;
}

function goesOn(o: Operation, why: string, exitCode: 6 | 130): Failure {
  const { project, target } = o;
  const where = project === 'default' ? '' : ` -p ${project}`;
  const look =
    target.kind !== 'instance'
      ? `berth operation get ${o.id}`
      : `berth get instances ${target.name} -o wide${where} · berth explain ${target.name}${where}`;
  return new Failure(
    `${o.kind} of ${target.name} ${why} and goes on (operation ${o.id}).\n` +
      `  -> Look: ${look} · berth operation wait ${o.id}`,
    exitCode,
  );
}

function failed(o: Operation): Failure {
  const fields = (o.error?.errors ?? [])
    .map((e) => `\n  ${e.path}: ${e.message}\n    -> ${e.remedy}`)
    .join('');
  const remedy = o.error?.remedy === undefined ? '' : `\n  -> ${o.error.remedy}`;
  return new Failure(
    `${o.kind} of ${o.target.name} failed: ${o.error?.message ?? 'no reason given'}${fields}${remedy}`,
  );
}
