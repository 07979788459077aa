import type { Migration } from './index.js';

/** Images also come of what a container changed, and are to go to registries. */
export const imageCommits: Migration = {
  version: 41,
  name: 'ImageCommits',
  sql: `
ALTER TABLE image_imports DROP CONSTRAINT image_imports_transport_check;
ALTER TABLE image_imports ADD CONSTRAINT image_imports_transport_check CHECK (transport IN ('url', 'registry', 'commit', 'push'));
`,
};
