import { ending } from './ending.js';
import { epochs } from './epochs.js';
import type { Behaviour } from './harness.js';
import { living } from './living.js';
import { preparing } from './preparing.js';
import { recovery } from './recovery.js';
import { starting } from './starting.js';
import { consoles, execs } from './terminals.js';

export type { Behaviour, ConformanceHarness, SmallPool, WorkloadKind } from './harness.js';

/** The promises every runtime keeps. Their names are part of the documentation. */
export const behaviours: readonly Behaviour[] = [
  ...preparing,
  ...starting,
  ...living,
  ...consoles,
  ...execs,
  ...ending,
  ...epochs,
  ...recovery,
];

export interface ConformanceCase extends Behaviour {
  /** False for what means nothing to a runtime; its name says why. */
  readonly applies: boolean;
}

/** For a runtime that puts no processes into what it runs: `conformanceCases(withoutExec)`. */
export const withoutExec: Readonly<Record<string, string>> = Object.fromEntries(
  execs.map(({ name }) => [name, 'a machine is reached by its console']),
);

/** For a runtime of workloads without a serial port: `conformanceCases(withoutConsole)`. */
export const withoutConsole: Readonly<Record<string, string>> = Object.fromEntries(
  consoles.map(({ name }) => [name, 'a container has no serial port']),
);

/**
 * The cases of one runtime. A behaviour that means nothing to it is named with the reason, and stays in sight.
 * @throws Error for a reason that belongs to no behaviour.
 */
export function conformanceCases(doesNotApply: Readonly<Record<string, string>> = {}): ConformanceCase[] {
  for (const name of Object.keys(doesNotApply))
    if (!behaviours.some((b) => b.name === name)) throw new Error(`there is no behaviour "${name}"`);
  return behaviours.map((b) => {
    const reason = doesNotApply[b.name];
    if (reason === undefined) return { ...b, applies: true };
    return { ...b, applies: false, name: `${b.name} (does not apply: ${reason})` };
  });
}
