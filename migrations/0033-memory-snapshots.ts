import type { Migration } from './index.js';

/** Snapshots may hold the memory of a guest beside its disks. */
export const memorySnapshots: Migration = {
  version: 33,
  name: 'MemorySnapshots',
  sql: `
-- Whether it was asked for with memory. The request; what its host took of it is in taken.
ALTER TABLE snapshots ADD COLUMN memory boolean NOT NULL DEFAULT false;
`,
};
