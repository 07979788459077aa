import type { Migration } from './index.js';

/** What a ticket opens holds an environment, and so secrets: it is enveloped. A browser's ticket ends with its session. */
export const terminalTicketEnvelope: Migration = {
  version: 8,
  name: 'TerminalTicketEnvelope',
  sql: `
-- Plain ones are not kept for the seconds they had left: whoever holds one asks for another.
DELETE FROM terminal_tickets;
ALTER TABLE terminal_tickets ALTER COLUMN opens DROP NOT NULL;
ALTER TABLE terminal_tickets ADD COLUMN envelope text;
ALTER TABLE terminal_tickets ADD COLUMN session_id uuid REFERENCES browser_sessions ON DELETE CASCADE;
`,
};
