import type { Migration } from './index.js';

/** Imports by URL go on after a restart of the API; what a project lets them do is its own setting. */
export const imageImports: Migration = {
  version: 9,
  name: 'ImageImports',
  sql: `
ALTER TABLE projects ADD COLUMN image_sources jsonb NOT NULL DEFAULT '{"redirects": false, "privateAddresses": false}';

-- What an import needs beside its operation. The address may carry a signature, and so is enveloped.
CREATE TABLE image_imports (
  operation_id uuid PRIMARY KEY REFERENCES operations ON DELETE CASCADE,
  kind text NOT NULL CHECK (kind IN ('oci', 'disk')),
  envelope text NOT NULL,
  -- The address without its query, for people.
  source text NOT NULL,
  sha256 text CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  -- Number of the API process that downloads it (see presence.ts); null: nobody does.
  holder integer
);
`,
};
