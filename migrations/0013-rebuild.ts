import type { Migration } from './index.js';

/** An instance that is rebuilt has its new image beside the old one until no placement has the old root disk. */
export const rebuild: Migration = {
  version: 13,
  name: 'Rebuild',
  sql: `
-- API requests set it, whoever makes the new root disk clears it
ALTER TABLE instances ADD COLUMN rebuild_image_id uuid REFERENCES images;
CREATE INDEX instances_rebuild_image ON instances (rebuild_image_id) WHERE rebuild_image_id IS NOT NULL;
`,
};
