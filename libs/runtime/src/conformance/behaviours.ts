import assert from 'node:assert/strict';
import { cdroms } from './cdroms.js';
import { changing } from './changing.js';
import { displays } from './displays.js';
import { ending } from './ending.js';
import { epochs } from './epochs.js';
import { files } from './files.js';
import { guests } from './guests.js';
import type { Behaviour } from './harness.js';
import { hostPaths } from './host-paths.js';
import { living } from './living.js';
import { nics } from './nics.js';
import { preparing } from './preparing.js';
import { recovery } from './recovery.js';
import { resetting } from './resetting.js';
import { snapshots } from './snapshots.js';
import { starting } from './starting.js';
import { suspending } from './suspending.js';
import { tpms } from './tpms.js';
import { attaches, consoles, execs } from './terminals.js';
import { volumes } from './volumes.js';
import { watching } from './watching.js';

export { alike } from './displays.js';
export { pictureOf } from './png-picture.js';
export type { Behaviour, ConformanceHarness, SmallPool, WorkloadKind } from './harness.js';

/** The promises every runtime keeps. Their names are part of the documentation. */
export const behaviours: readonly Behaviour[] = [
  ...preparing,
  ...starting,
  ...hostPaths,
  ...living,
  ...suspending,
  ...resetting,
  ...watching,
  ...tpms,
  ...changing,
  ...volumes,
  ...nics,
  ...cdroms,
  ...snapshots,
  ...consoles,
  ...displays,
  ...execs,
  ...attaches,
  ...files,
  ...guests,
  ...ending,
  ...epochs,
  ...recovery,
];

/** What not every runtime has. */
const ofFacet = {
  console: consoles,
  exec: execs,
  attach: attaches,
  files,
  hostPaths,
  suspend: suspending,
  reset: resetting,
  watchdog: watching,
  tpm: tpms,
  update: [...changing, ...volumes, ...nics, ...cdroms],
  volumes,
  nics,
  cdroms,
  snapshots,
  guest: guests,
  display: displays,
} as const;
type Facet = keyof typeof ofFacet;

/** What only a machine that boots a disk of its own has; a workload of an OCI image has none of it. */
export const ofWholeMachines = [
  'console',
  'display',
  'suspend',
  'volumes',
  'nics',
  'cdroms',
  'reset',
  'watchdog',
  'tpm',
  'guest',
  'snapshots',
] as const satisfies readonly Facet[];

/** What has no member of its own. */
const noMembers = [
  'hostPaths',
  'watchdog',
  'tpm',
  'volumes',
  'nics',
  'cdroms',
] as const satisfies readonly Facet[];
const isNoMember = (facet: Facet): facet is (typeof noMembers)[number] =>
  (noMembers as readonly Facet[]).includes(facet);

/** The promises of a facet that is left out: it is not offered. */
const lacking = (facet: Facet): Behaviour => ({
  name: `it has no ${facet}, and does not say that it has`,
  run: async (h) => {
    const runtime = await h.runtime();
    if (!isNoMember(facet)) assert.equal(runtime[facet], undefined);
    assert.ok(!(await runtime.probe()).facets.includes(facet));
  },
});

/** The cases of one runtime; of each facet it lacks, that it does not offer it. */
export function conformanceCases(...lacks: readonly Facet[]): readonly Behaviour[] {
  const lacked = new Set(lacks.flatMap((facet): readonly Behaviour[] => ofFacet[facet]));
  return [...behaviours.filter((b) => !lacked.has(b)), ...lacks.map(lacking)];
}
