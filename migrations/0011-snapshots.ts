import type { Migration } from './index.js';

/** Snapshots of instances: what is wanted of each, what its host said of it, and the room it is booked. */
export const snapshots: Migration = {
  version: 11,
  name: 'Snapshots',
  sql: `
-- As it was foreseen, one row for each disk; nothing ever wrote to it.
DROP TABLE snapshots;

CREATE TABLE snapshots (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects,
  instance_id uuid NOT NULL REFERENCES instances,
  -- Where its disks are.
  host_id uuid NOT NULL REFERENCES hosts,
  name text NOT NULL,
  -- Who asked for it.
  actor text NOT NULL,
  -- API requests: creating, reverting, deleting; agent reports: ready
  state text NOT NULL CHECK (state IN ('creating', 'ready', 'reverting', 'deleting')),
  -- Who asks the host for it: the order's id.
  operation_id uuid REFERENCES operations,
  -- Whole at the request; then what the host says it can hold.
  booked_mib bigint NOT NULL CHECK (booked_mib >= 0),
  -- agent reports: consistency, indications, time
  taken jsonb,
  resource_version bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  UNIQUE (instance_id, name),
  CHECK ((state = 'ready') = (operation_id IS NULL)),
  CHECK (taken IS NOT NULL OR state IN ('creating', 'deleting'))
);
CREATE INDEX snapshots_host ON snapshots (host_id) INCLUDE (booked_mib);
CREATE UNIQUE INDEX snapshots_operation ON snapshots (operation_id);

CREATE TABLE snapshot_disks (
  snapshot_id uuid NOT NULL REFERENCES snapshots ON DELETE CASCADE,
  volume_id uuid NOT NULL REFERENCES volumes,
  -- 0 is the root disk.
  index integer NOT NULL,
  size_mib bigint NOT NULL,
  PRIMARY KEY (snapshot_id, volume_id)
);
CREATE INDEX snapshot_disks_volume ON snapshot_disks (volume_id);
`,
};
