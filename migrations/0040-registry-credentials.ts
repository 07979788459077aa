import type { Migration } from './index.js';

/** What projects sign in with at registries. */
export const registryCredentials: Migration = {
  version: 40,
  name: 'RegistryCredentials',
  sql: `
CREATE TABLE registry_credentials (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects (id),
  host text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('password', 'identityToken')),
  username text CHECK ((username IS NULL) = (kind = 'identityToken')),
  -- The secret, sealed with the master key for this project and host.
  envelope text NOT NULL,
  resource_version bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  UNIQUE (project_id, host)
);
`,
};
