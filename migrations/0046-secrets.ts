import type { Migration } from './index.js';

/** Secrets of projects, which containers have as files and variables. */
export const secrets: Migration = {
  version: 46,
  name: 'Secrets',
  sql: `
CREATE TABLE secrets (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects (id),
  name text NOT NULL,
  -- The value, sealed with the master key for this project and name.
  envelope text NOT NULL,
  -- UTF-8 without NUL, so that it can be an environment variable.
  is_text boolean NOT NULL,
  resource_version bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  UNIQUE (project_id, name)
);
`,
};
