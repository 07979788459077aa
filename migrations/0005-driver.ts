import type { Migration } from './index.js';

/** Which runtime of its host has a placement, as its agent reports; and the wish for one in every spec. */
const sql = `
ALTER TABLE placements ADD COLUMN driver text;

UPDATE instances SET spec = jsonb_set(spec, '{placement,driver}', '"any"') WHERE NOT spec->'placement' ? 'driver';
UPDATE instance_revisions SET spec = jsonb_set(spec, '{placement,driver}', '"any"') WHERE NOT spec->'placement' ? 'driver';
`;

export const driver: Migration = { version: 5, name: 'Driver', sql };
