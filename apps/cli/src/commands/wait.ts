import { ProblemError, type Schemas } from '@berth/client';
import { healthyType, readyType } from '@berth/model';
import { Option } from 'commander';
import { exitCodes, Failure } from '../failure.js';
import { instances, kindOf, reasonOf } from '../kinds.js';
import { objectText } from '../output.js';
import { examples, say, untilInterrupted, wholeNumber, type Commands, type Session } from '../session.js';
import { Changes, follow } from '../watch.js';

type Instance = Schemas['Instance'];
interface WaitFor {
  readonly for: string;
  readonly timeout: number;
}

const says = ({ status }: Instance, type: string): boolean =>
  status.state === 'running' && status.conditions.some((c) => c.type === type);
const is =
  (state: string) =>
  ({ status }: Instance): boolean =>
    status.state === state;

/** What can be waited for; `deleted` is not to be found any more. */
const states: Readonly<Record<string, (i: Instance) => boolean>> = {
  running: is('running'),
  ready: (i) => says(i, readyType),
  healthy: (i) => says(i, healthyType),
  paused: is('paused'),
  suspended: is('suspended'),
  stopped: is('stopped'),
  deleted: () => false,
};
/** What says so, where it may be that nothing ever does. */
const toldBy: Readonly<Record<string, (i: Instance) => string | null>> = {
  ready: ({ spec }) => (spec.probes?.readiness === undefined ? 'readiness' : null),
  healthy: ({ spec }) =>
    spec.probes?.liveness === undefined && spec.probes?.startup === undefined ? 'liveness or startup' : null,
};

export const waitCommands: Commands = (program, session) => {
  const wait = program
    .command('wait <name...>')
    .description('wait until instances are as they are wanted, told by the event stream')
    .addOption(
      new Option('--for <state>', 'what is waited for; ready and healthy are told by probes')
        .choices(Object.keys(states))
        .default('running'),
    )
    .option('--timeout <seconds>', 'longest wait', (t) => wholeNumber('--timeout', t), 120)
    .action(async (names: string[], options: WaitFor) => {
      const s = session();
      await untilInterrupted((signal) => allAwait(s, names, options, signal));
    });
  examples(
    wait,
    'berth wait web\nberth wait web db --for running --timeout 60\nberth wait hung --for deleted',
  );
};

async function allAwait(
  s: Session,
  names: readonly string[],
  options: WaitFor,
  interrupted: AbortSignal,
): Promise<void> {
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(), options.timeout * 1000);
  const signal = AbortSignal.any([interrupted, over.signal]);
  const changed = new Changes();
  const left = new Set(names);
  const look = async (name: string): Promise<void> => {
    if (left.has(name) && (await reached(s, name, options.for))) left.delete(name);
  };
  // Asked first, so that an API that is away or a name that is not there ends the command at once.
  try {
    for (const name of names) await look(name);
    const following =
      left.size === 0 ? null : follow(s, kindOf('instances'), undefined, changed, signal).then(() => null);
    while (left.size > 0) {
      const what = await Promise.race([changed.next(), following]);
      if (interrupted.aborted) return;
      if (what === null || signal.aborted) throw await late(s, [...left], options);
      for (const name of what === 'all' ? [...left] : what) await look(name);
    }
  } finally {
    clearTimeout(timer);
    over.abort();
  }
}

/** Whether it is there; it is said then. @throws Failure where it never will be */
async function reached(s: Session, name: string, wanted: string): Promise<boolean> {
  const instance = await found(s, name, wanted);
  if (instance === null) return true;
  const probe = toldBy[wanted]?.(instance) ?? null;
  if (probe !== null)
    throw new Failure(
      `${name} has no probe that says whether it is ${wanted}\n  -> Give it a ${probe} probe: berth update ${name}, spec.probes`,
      exitCodes.usage,
    );
  if (instance.status.state === 'error' && wanted !== 'deleted')
    throw new Failure(`${name} is in error: ${reasonOf(instance) ?? 'no reason given'}`);
  if (states[wanted]?.(instance) !== true) return false;
  say(s.format === 'table' || s.format === 'wide' ? `${name}: ${wanted}\n` : objectText(instance, s.format));
  return true;
}

/** Null when it is gone, and that is what is waited for. */
async function found(s: Session, name: string, wanted: string): Promise<Instance | null> {
  try {
    return await instances.get(s.api, s.project, name);
  } catch (error) {
    if (wanted !== 'deleted' || !(error instanceof ProblemError) || error.status !== 404) throw error;
    if (s.format === 'table' || s.format === 'wide') say(`${name}: deleted\n`);
    return null;
  }
}

async function late(s: Session, names: readonly string[], options: WaitFor): Promise<Failure> {
  const lines: string[] = [];
  for (const name of names) {
    const instance = await instances.get(s.api, s.project, name);
    const reason = reasonOf(instance);
    lines.push(
      `${name} is ${instance.status.state} and not ${options.for} after ${options.timeout} s${reason === null ? '' : `: ${reason}`}`,
    );
  }
  return new Failure(
    `${lines.join('\n')}\n  -> Look: berth describe instance ${names[0] ?? ''}`,
    exitCodes.timeout,
  );
}
