import type { Migration } from './index.js';

/** Whose a key under way is, so that what died with its process need not wait for a lease. */
export const idempotencyHolder: Migration = {
  version: 6,
  name: 'IdempotencyHolder',
  sql: `
-- Number of the database session of the API process that works on it (see store/presence.ts); null: only the lease tells.
ALTER TABLE idempotency_keys ADD COLUMN holder integer;
`,
};
