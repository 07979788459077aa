import type { Migration } from './index.js';

/** Files that hosts make of volumes, to be downloaded. Each is a volume of kind `export`, so that its room is booked and its host removes it. */
export const volumeExports: Migration = {
  version: 26,
  name: 'VolumeExports',
  sql: `
ALTER TABLE volumes DROP CONSTRAINT volumes_kind_check, ADD CONSTRAINT volumes_kind_check
  CHECK (kind IN ('rootDisk', 'writableLayer', 'data', 'export', 'nvram', 'tpm', 'suspendImage'));
CREATE TABLE volume_exports (
  volume_id uuid PRIMARY KEY REFERENCES volumes ON DELETE CASCADE,
  -- API requests: the name of what it holds, which may belong to another volume by now
  of_name text NOT NULL,
  consistency text NOT NULL CHECK (consistency IN ('application', 'filesystem', 'crash')),
  -- Who asks the host for it: the order's id.
  operation_id uuid NOT NULL UNIQUE REFERENCES operations,
  -- Agent reports: the whole file, and until when it is kept
  size_bytes bigint CHECK (size_bytes >= 0),
  sha256 text,
  expires_at timestamptz,
  CHECK ((sha256 IS NULL) = (size_bytes IS NULL) AND (sha256 IS NULL) = (expires_at IS NULL))
);
CREATE INDEX volume_exports_expiry ON volume_exports (expires_at) WHERE expires_at IS NOT NULL;
`,
};
