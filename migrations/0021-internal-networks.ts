import type { Migration } from './index.js';

/** Networks without a way out. */
export const internalNetworks: Migration = {
  version: 21,
  name: 'InternalNetworks',
  sql: `
ALTER TABLE networks ADD COLUMN internal boolean NOT NULL DEFAULT false;
`,
};
