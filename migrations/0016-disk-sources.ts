import type { Migration } from './index.js';

/** Volumes that begin as a disk of a snapshot: what they began as, and what their host has yet to copy. */
export const diskSources: Migration = {
  version: 16,
  name: 'DiskSources',
  sql: `
ALTER TABLE volumes
  -- API requests: as it was asked for; names, which may belong to others by now
  ADD COLUMN source jsonb,
  -- API requests set them; agent reports, and whoever discards the volume, clear them. Until then the snapshot stays.
  ADD COLUMN source_snapshot_id uuid,
  ADD COLUMN source_volume_id uuid,
  ADD FOREIGN KEY (source_snapshot_id, source_volume_id) REFERENCES snapshot_disks (snapshot_id, volume_id),
  ADD CHECK ((source_snapshot_id IS NULL) = (source_volume_id IS NULL)),
  ADD CHECK (source_snapshot_id IS NULL OR (source IS NOT NULL AND host_id IS NOT NULL));
CREATE INDEX volumes_source_snapshot ON volumes (source_snapshot_id, source_volume_id) WHERE source_snapshot_id IS NOT NULL;
`,
};
