import type { Migration } from './index.js';

/** Images for CD-ROM drives. */
export const isoImages: Migration = {
  version: 35,
  name: 'IsoImages',
  sql: `
ALTER TABLE images DROP CONSTRAINT images_kind_check, ADD CONSTRAINT images_kind_check CHECK (kind IN ('oci', 'disk', 'iso'));
ALTER TABLE image_imports DROP CONSTRAINT image_imports_kind_check,
  ADD CONSTRAINT image_imports_kind_check CHECK (kind IN ('oci', 'disk', 'iso'));
`,
};
