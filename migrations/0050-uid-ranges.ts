import type { Migration } from './index.js';

/** Users of hosts that containers' are. */
export const uidRanges: Migration = {
  version: 50,
  name: 'UidRanges',
  sql: `
-- {first, count}, as its host says, of this epoch's container; also of one that has ended, for its disk keeps it. Null for machines.
ALTER TABLE placements ADD COLUMN uid_range jsonb;
`,
};
