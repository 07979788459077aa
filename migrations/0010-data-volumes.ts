import type { Migration } from './index.js';

/** Volumes beside the root disk: limits, the size their host sees, who has them now; and what a placement was brought to. */
export const dataVolumes: Migration = {
  version: 10,
  name: 'DataVolumes',
  sql: `
-- API requests
ALTER TABLE volumes ADD COLUMN limits jsonb NOT NULL DEFAULT '{}';
-- agent reports
ALTER TABLE volumes ADD COLUMN actual_size_mib bigint CHECK (actual_size_mib >= 0);
-- scheduler: the generation whose room is booked; null in placements of before
ALTER TABLE placements ADD COLUMN generation bigint;
-- agent reports: the generation it was brought to, and the ids of the volumes it has
ALTER TABLE placements ADD COLUMN applied_generation bigint;
ALTER TABLE placements ADD COLUMN volumes jsonb NOT NULL DEFAULT '[]';
-- A data volume belongs to no instance when it is removed.
ALTER TABLE tombstones ALTER COLUMN instance_id DROP NOT NULL;
`,
};
