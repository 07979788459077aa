import type { Migration } from './index.js';

/** CD-ROM drives of machines. */
export const cdroms: Migration = {
  version: 36,
  name: 'Cdroms',
  sql: `
-- What its host says is in its drives, in their order: digest, trayOpen, locked. Null while that is not known. An image stays on a
-- host as long as it is in a drive there.
ALTER TABLE placements ADD COLUMN cdroms jsonb;
`,
};
