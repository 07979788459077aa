import type { Migration } from './index.js';

/*
 * How browsers sign in. A session speaks for its token and never for longer: revoking or expiring the token ends it.
 * A code stands for its token once, so that nobody has to copy the token itself.
 */
export const browserSessions: Migration = {
  version: 2,
  name: 'BrowserSessions',
  sql: `
CREATE TABLE browser_sessions (
  id uuid PRIMARY KEY,
  hash text NOT NULL UNIQUE CHECK (hash ~ '^[0-9a-f]{64}$'),
  token_id uuid NOT NULL REFERENCES tokens,
  created_at timestamptz NOT NULL,
  -- raised by requests, not more often than once a minute
  seen_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE INDEX browser_sessions_token ON browser_sessions (token_id);
CREATE INDEX browser_sessions_expiry ON browser_sessions (expires_at);

CREATE TABLE sign_in_codes (
  id uuid PRIMARY KEY,
  hash text NOT NULL UNIQUE CHECK (hash ~ '^[0-9a-f]{64}$'),
  token_id uuid NOT NULL REFERENCES tokens,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE INDEX sign_in_codes_token ON sign_in_codes (token_id);
CREATE INDEX sign_in_codes_expiry ON sign_in_codes (expires_at);
`,
};
