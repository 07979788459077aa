import { ending } from './ending.js';
import { epochs } from './epochs.js';
import type { Behaviour } from './harness.js';
import { living } from './living.js';
import { preparing } from './preparing.js';
import { recovery } from './recovery.js';
import { starting } from './starting.js';

export type { Behaviour, ConformanceHarness, SmallPool, WorkloadKind } from './harness.js';

/** The promises every runtime keeps. Their names are part of the documentation. */
export const behaviours: readonly Behaviour[] = [
  ...preparing,
  ...starting,
  ...living,
  ...ending,
  ...epochs,
  ...recovery,
];

export interface ConformanceCase extends Behaviour {
  /** False for what means nothing to a runtime; its name says why. */
  readonly applies: boolean;
}

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
