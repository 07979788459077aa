import type { Migration } from './index.js';

/** How far a host's clock is from the API's. */
export const hostClock: Migration = {
  version: 28,
  name: 'HostClock',
  sql: `
-- Milliseconds that it is ahead of the clock of the API that has its link, behind below zero. That API, by the answers it gets.
ALTER TABLE hosts ADD COLUMN clock_ahead_ms integer;
`,
};
