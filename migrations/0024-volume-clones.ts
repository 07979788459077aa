import type { Migration } from './index.js';

/** Data volumes that their host makes by copying another one; a row is there until that is over. */
export const volumeClones: Migration = {
  version: 24,
  name: 'VolumeClones',
  sql: `
CREATE TABLE volume_clones (
  -- The new volume, which is on the host of the other one.
  volume_id uuid PRIMARY KEY REFERENCES volumes ON DELETE CASCADE,
  -- Stays as it is until then: nobody attaches it, starts with it or deletes it.
  source_volume_id uuid NOT NULL REFERENCES volumes,
  -- Who asks the host for it: the order's id.
  operation_id uuid NOT NULL UNIQUE REFERENCES operations
);
CREATE INDEX volume_clones_source ON volume_clones (source_volume_id);
`,
};
