import assert from 'node:assert/strict';
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

/** What not every runtime has. */
type Facet = 'console' | 'exec';

/** The promises of a facet that is left out: it is not offered. */
const lacking = (facet: Facet): Behaviour => ({
  name: `it has no ${facet}, and does not say that it has`,
  run: async (h) => {
    const runtime = await h.runtime();
    assert.equal(runtime[facet], undefined);
    assert.ok(!(await runtime.probe()).facets.includes(facet));
  },
});

/** The cases of one runtime; of a facet it lacks, that it does not offer it. */
export function conformanceCases(lacks: Facet | null = null): readonly Behaviour[] {
  if (lacks === null) return behaviours;
  const ofFacet = { console: consoles, exec: execs }[lacks];
  return [...behaviours.filter((b) => !ofFacet.includes(b)), lacking(lacks)];
}
