import type { Migration } from './index.js';

/** What an epoch is to have of its host, which may change while it runs. */
export const liveSizes: Migration = {
  version: 19,
  name: 'LiveSizes',
  sql: `
-- What it is to have, as \`Sizes\`. The scheduler; then API requests that change what runs.
-- Room that is booked for it, cpu_millis and memory_mib, is raised with it, and lowered by agent reports of what it has.
ALTER TABLE placements ADD COLUMN sizes jsonb;
UPDATE placements p SET sizes = jsonb_build_object(
    'vcpus', coalesce((r.spec->>'vcpus')::bigint, 1), 'cpuMillis', (r.spec->>'cpuMillis')::bigint, 'memoryMiB', (r.spec->>'memoryMiB')::bigint)
  FROM instance_revisions r WHERE r.instance_id = p.instance_id AND r.generation = p.generation AND p.phase <> 'ended';
`,
};
