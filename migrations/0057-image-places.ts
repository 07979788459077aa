import type { Migration } from './index.js';

/** Repositories that an image came from, or was pushed to. */
export const imagePlaces: Migration = {
  version: 57,
  name: 'ImagePlaces',
  sql: `
-- What a registry has of an image there, a push to another of its repositories takes over. A hint: the registry decides.
CREATE TABLE image_places (
  image_id uuid NOT NULL REFERENCES images ON DELETE CASCADE,
  registry text NOT NULL,
  repository text NOT NULL,
  seen_at timestamptz NOT NULL,
  PRIMARY KEY (image_id, registry, repository)
);
`,
};
