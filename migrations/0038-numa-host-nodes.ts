import type { Migration } from './index.js';

/** Nodes of hosts that machines are bound to. */
export const numaHostNodes: Migration = {
  version: 38,
  name: 'NumaHostNodes',
  sql: `
-- A list of numbers that its host says, one for each node of this epoch's machine. Null where it is bound to none.
ALTER TABLE placements ADD COLUMN numa_host_nodes jsonb;
`,
};
