import type { Migration } from './index.js';

/** Nics that come to a machine that runs, and leave it. */
export const liveNics: Migration = {
  version: 29,
  name: 'LiveNics',
  sql: `
-- A nic that its instance asks for no more, and that its host may still have: as the spec had it last. It keeps its address until
-- the host says that it is gone. Null while it is asked for.
ALTER TABLE nics ADD COLUMN leaving jsonb;
-- Ids of the nics that its host says it has; null while that is not known.
ALTER TABLE placements ADD COLUMN nics jsonb;
`,
};
