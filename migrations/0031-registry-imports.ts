import type { Migration } from './index.js';

/** Imports also come blob by blob from a registry. */
export const registryImports: Migration = {
  version: 31,
  name: 'RegistryImports',
  sql: `
-- How the content comes, and so what the envelope holds: an address, or a reference with what signs in at its registry.
ALTER TABLE image_imports ADD COLUMN transport text NOT NULL DEFAULT 'url' CHECK (transport IN ('url', 'registry'));
`,
};
