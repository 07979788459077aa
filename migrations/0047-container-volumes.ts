import type { Migration } from './index.js';

/** Data volumes that are file systems for containers. */
export const containerVolumes: Migration = {
  version: 47,
  name: 'ContainerVolumes',
  sql: `
ALTER TABLE volumes DROP CONSTRAINT volumes_format_check;
ALTER TABLE volumes ADD CONSTRAINT volumes_format_check CHECK (format IN ('qcow2', 'raw', 'dir', 'ext4'));
`,
};
