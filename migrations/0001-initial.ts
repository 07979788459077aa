import type { Migration } from './index.js';

/*
 * Every table of the model with its final columns. One writer per column group; the writer is named beside the group
 * where it is not plain from the table. Times come from the writers' clock, never from a default.
 * State columns are checked here too: a bug in a writer must not be able to store a word the model does not know.
 */
const access = `
CREATE TABLE meta (
  key text PRIMARY KEY,
  value jsonb NOT NULL,
  updated_at timestamptz NOT NULL
);

CREATE TABLE projects (
  id uuid PRIMARY KEY,
  name text NOT NULL UNIQUE,
  quota jsonb NOT NULL DEFAULT '{}',
  resource_version bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);

CREATE TABLE tokens (
  id uuid PRIMARY KEY,
  name text NOT NULL,
  hash text NOT NULL UNIQUE CHECK (hash ~ '^[0-9a-f]{64}$'),
  project_id uuid REFERENCES projects,
  role text NOT NULL CHECK (role IN ('admin', 'operator', 'viewer')),
  created_by text NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz,
  revoked_at timestamptz
);
CREATE INDEX tokens_project ON tokens (project_id);

CREATE TABLE role_bindings (
  id uuid PRIMARY KEY,
  project_id uuid REFERENCES projects,
  subject text NOT NULL,
  role text NOT NULL CHECK (role IN ('admin', 'operator', 'viewer')),
  created_at timestamptz NOT NULL,
  UNIQUE NULLS NOT DISTINCT (project_id, subject)
);
CREATE INDEX role_bindings_subject ON role_bindings (subject);
`;

const hosts = `
CREATE TABLE hosts (
  id uuid PRIMARY KEY,
  name text NOT NULL,
  -- API requests
  labels jsonb NOT NULL DEFAULT '{}',
  schedulable boolean NOT NULL DEFAULT true,
  revoked_at timestamptz,
  removed_at timestamptz,
  -- join and renewal
  key_fingerprint text NOT NULL,
  -- whoever changes the host's list, in the same transaction
  assignment_rev bigint NOT NULL DEFAULT 0,
  -- session open: the newest session and the boot it runs in
  session bigint,
  boot_id text,
  agent_version text,
  -- agent reports
  capabilities jsonb,
  last_seen_at timestamptz,
  -- reconcile
  silent_since timestamptz,
  resource_version bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
-- A removed host keeps its row for the history that names it; its name is free.
CREATE UNIQUE INDEX hosts_name ON hosts (name) WHERE removed_at IS NULL;
CREATE UNIQUE INDEX hosts_key ON hosts (key_fingerprint) WHERE removed_at IS NULL;
CREATE INDEX hosts_heard ON hosts (last_seen_at) WHERE silent_since IS NULL AND removed_at IS NULL;

CREATE TABLE host_sessions (
  session bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  host_id uuid NOT NULL REFERENCES hosts,
  boot_id text NOT NULL,
  agent_version text NOT NULL,
  opened_at timestamptz NOT NULL
);
CREATE INDEX host_sessions_host ON host_sessions (host_id, session DESC);

-- What the placement lock needs and nothing hot: heartbeats and foreign keys never wait for it.
CREATE TABLE host_capacity (
  host_id uuid PRIMARY KEY REFERENCES hosts,
  cpu_millis bigint NOT NULL CHECK (cpu_millis >= 0),
  memory_mib bigint NOT NULL CHECK (memory_mib >= 0),
  disk_mib bigint NOT NULL CHECK (disk_mib >= 0),
  updated_at timestamptz NOT NULL
);

CREATE TABLE fences (
  id uuid PRIMARY KEY,
  host_id uuid NOT NULL REFERENCES hosts,
  boot_id text NOT NULL,
  method text NOT NULL,
  evidence jsonb NOT NULL,
  actor text NOT NULL,
  at timestamptz NOT NULL,
  UNIQUE (host_id, boot_id)
);

CREATE TABLE join_tokens (
  id uuid PRIMARY KEY,
  hash text NOT NULL UNIQUE CHECK (hash ~ '^[0-9a-f]{64}$'),
  host_name text,
  labels jsonb NOT NULL DEFAULT '{}',
  created_by text NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz,
  consumed_at timestamptz,
  host_id uuid REFERENCES hosts,
  CHECK ((consumed_at IS NULL) = (host_id IS NULL))
);
`;

const images = `
CREATE TABLE images (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects,
  name text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('oci', 'disk')),
  digest text NOT NULL CHECK (digest ~ '^sha256:[0-9a-f]{64}$'),
  size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
  content jsonb NOT NULL,
  resource_version bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  UNIQUE (project_id, name)
);
CREATE INDEX images_digest ON images (digest);

-- Written by inventories: images whose blobs are all on the host.
CREATE TABLE host_images (
  host_id uuid NOT NULL REFERENCES hosts,
  digest text NOT NULL,
  seen_at timestamptz NOT NULL,
  PRIMARY KEY (host_id, digest)
);
CREATE INDEX host_images_digest ON host_images (digest);
`;

const instances = `
CREATE TABLE operations (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects,
  kind text NOT NULL,
  target_kind text NOT NULL,
  target_id text NOT NULL,
  target_name text NOT NULL,
  actor text NOT NULL,
  trace_id text NOT NULL,
  state text NOT NULL CHECK (state IN ('pending', 'running', 'succeeded', 'failed', 'cancelled', 'superseded')),
  steps jsonb NOT NULL DEFAULT '[]',
  progress integer NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
  deadline timestamptz,
  error jsonb,
  created_at timestamptz NOT NULL,
  finished_at timestamptz,
  CHECK ((finished_at IS NULL) = (state IN ('pending', 'running')))
);
CREATE INDEX operations_project ON operations (project_id, created_at DESC, id DESC);
CREATE INDEX operations_target ON operations (target_id, created_at DESC);
CREATE INDEX operations_newest ON operations (created_at DESC, id DESC);
CREATE INDEX operations_deadline ON operations (deadline) WHERE state IN ('pending', 'running');

CREATE TABLE instances (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects,
  name text NOT NULL,
  uuid uuid NOT NULL UNIQUE,
  -- API requests
  labels jsonb NOT NULL,
  spec jsonb NOT NULL,
  isolation text NOT NULL CHECK (isolation IN ('vm', 'microvm', 'container')),
  desired text NOT NULL CHECK (desired IN ('running', 'stopped', 'paused', 'suspended')),
  generation bigint NOT NULL DEFAULT 1,
  run_generation bigint NOT NULL DEFAULT 0,
  image_id uuid NOT NULL REFERENCES images,
  image_digest text NOT NULL,
  deleting_since timestamptz,
  -- scheduler: the highest epoch ever spent, and who owns (they differ after a cancelled migration)
  epoch_high integer NOT NULL DEFAULT 0,
  owner_epoch integer,
  decision_id uuid,
  -- derived in one place (stateRefresh)
  state text NOT NULL CHECK (state IN ('pending', 'running', 'paused', 'suspended', 'stopped', 'unknown', 'error',
    'provisioning', 'starting', 'stopping', 'pausing', 'resuming', 'suspending', 'migrating', 'restoring', 'deleting')),
  reason text,
  conditions jsonb NOT NULL DEFAULT '[]',
  operation_id uuid REFERENCES operations,
  deadline timestamptz,
  resource_version bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  UNIQUE (project_id, name),
  CHECK (owner_epoch <= epoch_high),
  CHECK (state <> 'deleting' OR deleting_since IS NOT NULL)
);
CREATE INDEX instances_image ON instances (image_id);
CREATE INDEX instances_state ON instances (state);
CREATE INDEX instances_labels ON instances USING gin (labels jsonb_path_ops);
CREATE INDEX instances_wanting ON instances (created_at) WHERE deleting_since IS NULL AND desired IN ('running', 'paused');
CREATE INDEX instances_deleting ON instances (deleting_since) WHERE deleting_since IS NOT NULL;
CREATE INDEX instances_operation ON instances (operation_id) WHERE operation_id IS NOT NULL;

-- Every spec ever asked for; stays when the instance goes.
CREATE TABLE instance_revisions (
  instance_id uuid NOT NULL,
  generation bigint NOT NULL,
  spec jsonb NOT NULL,
  labels jsonb NOT NULL,
  actor text NOT NULL,
  trace_id text NOT NULL,
  operation_id uuid NOT NULL REFERENCES operations,
  at timestamptz NOT NULL,
  PRIMARY KEY (instance_id, generation)
);

CREATE TABLE decisions (
  id uuid PRIMARY KEY,
  instance_id uuid NOT NULL REFERENCES instances,
  outcome text NOT NULL CHECK (outcome IN ('placed', 'unplaced')),
  host_id uuid REFERENCES hosts,
  body jsonb NOT NULL,
  attempts integer NOT NULL DEFAULT 1,
  at timestamptz NOT NULL,
  CHECK ((outcome = 'placed') = (host_id IS NOT NULL))
);
CREATE INDEX decisions_instance ON decisions (instance_id, at DESC);

CREATE TABLE placements (
  instance_id uuid NOT NULL REFERENCES instances,
  epoch integer NOT NULL CHECK (epoch > 0),
  -- scheduler
  host_id uuid NOT NULL REFERENCES hosts,
  role text NOT NULL CHECK (role IN ('owner', 'incoming')),
  run_generation bigint NOT NULL,
  cpu_millis bigint NOT NULL CHECK (cpu_millis >= 0),
  memory_mib bigint NOT NULL CHECK (memory_mib >= 0),
  disk_mib bigint NOT NULL CHECK (disk_mib >= 0),
  decision_id uuid NOT NULL REFERENCES decisions,
  created_at timestamptz NOT NULL,
  -- dispatch
  offered_at timestamptz,
  -- agent reports
  phase text NOT NULL DEFAULT 'assigned'
    CHECK (phase IN ('assigned', 'preparing', 'starting', 'running', 'stopping', 'ended')),
  run integer NOT NULL DEFAULT 0 CHECK (run >= 0),
  power text NOT NULL DEFAULT 'off' CHECK (power IN ('off', 'running', 'paused', 'suspended', 'crashed')),
  exit jsonb,
  conditions jsonb NOT NULL DEFAULT '[]',
  boot_id text,
  first_running_at timestamptz,
  observed_at timestamptz,
  session bigint,
  seq bigint,
  -- whoever ends it
  closed_by text CHECK (closed_by IN ('report', 'withdrawn', 'refused', 'fence', 'migration', 'hostRemoved')),
  closed_at timestamptz,
  PRIMARY KEY (instance_id, epoch),
  CHECK ((phase = 'ended') = (closed_at IS NOT NULL)),
  CHECK ((closed_by IS NULL) = (closed_at IS NULL))
);
-- Never two live owners, never two live targets.
CREATE UNIQUE INDEX placements_one_owner ON placements (instance_id) WHERE phase <> 'ended' AND role = 'owner';
CREATE UNIQUE INDEX placements_one_incoming ON placements (instance_id) WHERE phase <> 'ended' AND role = 'incoming';
CREATE INDEX placements_live ON placements (host_id) INCLUDE (cpu_millis, memory_mib) WHERE phase <> 'ended';
CREATE INDEX placements_decision ON placements (decision_id);

-- Explicit orders to remove; a done one stays until the instance goes.
CREATE TABLE tombstones (
  id uuid PRIMARY KEY,
  host_id uuid NOT NULL REFERENCES hosts,
  instance_id uuid NOT NULL REFERENCES instances,
  epoch integer,
  volume_id uuid,
  created_at timestamptz NOT NULL,
  done_at timestamptz,
  CHECK (num_nonnulls(epoch, volume_id) = 1),
  UNIQUE NULLS NOT DISTINCT (host_id, instance_id, epoch, volume_id)
);
CREATE INDEX tombstones_waiting ON tombstones (host_id) WHERE done_at IS NULL;
CREATE INDEX tombstones_instance ON tombstones (instance_id);
`;

const storage = `
CREATE TABLE pools (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects,
  name text NOT NULL,
  driver text NOT NULL CHECK (driver IN ('directory')),
  config jsonb NOT NULL DEFAULT '{}',
  resource_version bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  UNIQUE (project_id, name)
);

CREATE TABLE volumes (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects,
  pool_id uuid NOT NULL REFERENCES pools,
  -- Names made by the system hold a dot, which no user's name can.
  name text NOT NULL,
  -- Set at the first placement; from then on a start goes only there.
  host_id uuid REFERENCES hosts,
  kind text NOT NULL CHECK (kind IN ('rootDisk', 'writableLayer', 'data', 'nvram', 'tpm', 'suspendImage')),
  format text NOT NULL CHECK (format IN ('qcow2', 'raw', 'dir')),
  size_mib bigint NOT NULL CHECK (size_mib > 0),
  base_digest text,
  owner_instance_id uuid REFERENCES instances,
  delete_with_instance boolean NOT NULL,
  deleting_since timestamptz,
  resource_version bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  UNIQUE (project_id, name)
);
CREATE INDEX volumes_host ON volumes (host_id) INCLUDE (size_mib);
CREATE INDEX volumes_pool ON volumes (pool_id);
CREATE INDEX volumes_owner ON volumes (owner_instance_id);
CREATE UNIQUE INDEX volumes_one_root ON volumes (owner_instance_id) WHERE kind IN ('rootDisk', 'writableLayer');

CREATE TABLE snapshots (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects,
  name text NOT NULL,
  instance_id uuid REFERENCES instances,
  volume_id uuid NOT NULL REFERENCES volumes,
  -- Snapshots of several volumes taken in one moment share it.
  set_id uuid NOT NULL,
  host_id uuid REFERENCES hosts,
  content text NOT NULL CHECK (content IN ('disk', 'diskAndMemory')),
  consistency text CHECK (consistency IN ('application', 'filesystem', 'crash')),
  indications jsonb NOT NULL DEFAULT '[]',
  state text NOT NULL CHECK (state IN ('creating', 'ready', 'deleting', 'error')),
  size_mib bigint CHECK (size_mib >= 0),
  operation_id uuid REFERENCES operations,
  resource_version bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  UNIQUE (volume_id, name)
);
CREATE INDEX snapshots_set ON snapshots (set_id);
CREATE INDEX snapshots_instance ON snapshots (instance_id);
`;

const networks = `
CREATE TABLE networks (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects,
  name text NOT NULL,
  scope text NOT NULL CHECK (scope IN ('host', 'cluster')),
  cidr cidr NOT NULL,
  gateway inet NOT NULL CHECK (gateway << cidr),
  resource_version bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  UNIQUE (project_id, name),
  -- All bridges of a host share its routing table.
  CONSTRAINT networks_apart EXCLUDE USING gist (cidr inet_ops WITH &&)
);

CREATE TABLE nics (
  id uuid PRIMARY KEY,
  instance_id uuid NOT NULL REFERENCES instances,
  network_id uuid NOT NULL REFERENCES networks,
  index integer NOT NULL CHECK (index >= 0),
  mac macaddr NOT NULL,
  UNIQUE (instance_id, index),
  UNIQUE (network_id, mac)
);

-- IPAM: what is not here is free.
CREATE TABLE addresses (
  network_id uuid NOT NULL REFERENCES networks,
  address inet NOT NULL,
  nic_id uuid NOT NULL REFERENCES nics,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (network_id, address)
);
CREATE INDEX addresses_nic ON addresses (nic_id);
`;

const ledger = `
-- The ledger. \`position\` is null at insert; one sequencer numbers committed rows. No foreign keys: history outlives its objects.
CREATE TABLE events (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  position bigint UNIQUE,
  at timestamptz NOT NULL,
  class text NOT NULL CHECK (class IN ('audit', 'lifecycle', 'observation')),
  type text NOT NULL,
  project_id uuid,
  project text,
  object_kind text NOT NULL,
  object_id text NOT NULL,
  object_name text NOT NULL,
  actor text NOT NULL,
  trace_id text,
  operation_id uuid,
  data jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX events_unnumbered ON events (id) WHERE position IS NULL;
CREATE INDEX events_object ON events (object_id, position);
CREATE INDEX events_project ON events (project, position);
CREATE INDEX events_trimmable ON events (at) WHERE class <> 'audit';

CREATE TABLE ledger_head (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  position bigint NOT NULL,
  -- The highest position that was trimmed: a cursor below it has a gap.
  trimmed bigint NOT NULL
);
INSERT INTO ledger_head (position, trimmed) VALUES (0, 0);

CREATE TABLE idempotency_keys (
  scope text NOT NULL,
  key text NOT NULL,
  request_hash text NOT NULL,
  state text NOT NULL CHECK (state IN ('begun', 'committed', 'done')),
  operation_id uuid REFERENCES operations,
  status integer,
  answer jsonb,
  headers jsonb,
  lease_until timestamptz NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (scope, key),
  CHECK ((state = 'done') = (status IS NOT NULL)),
  CHECK (state <> 'committed' OR operation_id IS NOT NULL)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);
`;

export const initial: Migration = {
  version: 1,
  name: 'Initial',
  sql: [access, hosts, images, instances, storage, networks, ledger].join('\n'),
};
