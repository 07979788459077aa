import type { Migration } from './index.js';

/** A stop may say itself how long the guest gets. */
export const stopGrace: Migration = {
  version: 32,
  name: 'StopGrace',
  sql: `
-- Seconds that the newest request to stop, restart or delete gives the guest; null: as its spec says. Those requests.
ALTER TABLE instances ADD COLUMN stop_grace_seconds integer CHECK (stop_grace_seconds BETWEEN 0 AND 3600);
`,
};
