import type { Migration } from './index.js';

/** Tickets for consoles and exec: spent once, within a minute, by whoever asked for them. */
export const terminalTickets: Migration = {
  version: 3,
  name: 'TerminalTickets',
  sql: `
CREATE TABLE terminal_tickets (
  hash text PRIMARY KEY,
  token_id uuid NOT NULL REFERENCES tokens ON DELETE CASCADE,
  instance_id uuid NOT NULL REFERENCES instances ON DELETE CASCADE,
  -- What it opens. A row goes when it is spent, or soon after it has expired.
  opens jsonb NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE INDEX terminal_tickets_expiry ON terminal_tickets (expires_at);
`,
};
