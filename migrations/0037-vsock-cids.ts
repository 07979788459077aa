import type { Migration } from './index.js';

/** Context ids of vsock devices. */
export const vsockCids: Migration = {
  version: 37,
  name: 'VsockCids',
  sql: `
-- By what number programs of its host reach this epoch's guest, as the host says: free of others there, and unknown anywhere else. Null
-- without a vsock device.
ALTER TABLE placements ADD COLUMN vsock_cid bigint;
`,
};
