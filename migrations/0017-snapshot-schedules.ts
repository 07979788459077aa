import type { Migration } from './index.js';

/** Snapshots by schedule: for when each is, how far the schedule of an instance is, and why it is not further. */
export const snapshotSchedules: Migration = {
  version: 17,
  name: 'SnapshotSchedules',
  sql: `
-- The scheduler of snapshots; null for one that a user asked for, which it never deletes.
ALTER TABLE snapshots ADD COLUMN scheduled_for timestamptz;
CREATE UNIQUE INDEX snapshots_scheduled ON snapshots (instance_id, scheduled_for) WHERE scheduled_for IS NOT NULL;

ALTER TABLE instances
  -- The moment that was seen to last. API requests: when the schedule was set; then the scheduler of snapshots
  ADD COLUMN snapshots_seen_to timestamptz,
  -- Why the last one was not taken, as a condition. The scheduler of snapshots and agent reports
  ADD COLUMN snapshots_failure jsonb;
CREATE INDEX instances_snapshots ON instances (id) WHERE spec ? 'snapshots';
`,
};
