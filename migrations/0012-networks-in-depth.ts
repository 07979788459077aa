import type { Migration } from './index.js';

/** Ports that instances publish are read from their specs at every placement: an index finds the few. Security groups. */
export const networksInDepth: Migration = {
  version: 12,
  name: 'NetworksInDepth',
  sql: `
CREATE INDEX instances_publishing ON instances (id) WHERE spec @? '$.nics[*].ports[*]';
-- API requests
CREATE TABLE security_groups (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects (id),
  name text NOT NULL,
  rules jsonb NOT NULL,
  resource_version bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  UNIQUE (project_id, name)
);
`,
};
