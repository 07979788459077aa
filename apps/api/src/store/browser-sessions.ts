import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, read } from './db.js';
import { eventsWrite } from './events.js';
import { tokenColumns } from './access.js';
import { keyAnswer } from './keyed.js';
import type { BrowserSessionRow, TokenRow } from './rows.js';

type TokenRecord = TokenRow & Record<string, unknown>;
type SessionRecord = TokenRecord & { sessionId: string; sessionExpiresAt: Date; seenAt: Date };

/** Tokens that still speak for somebody at a time, which is parameter `$n`. */
const alive = (n: number): string =>
  `t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > $${n})`;

/** Opens a session of a token that was checked just before. Its end is the token's, when that comes first. */
export async function browserSessionCreate(
  db: Db,
  ctx: RequestContext,
  session: { hash: string; token: TokenRow; expiresAt: Date },
): Promise<BrowserSessionRow> {
  const { token } = session;
  return inTx(db, async (tx) => {
    const id = tx.ids.uuid();
    const expiresAt =
      token.expiresAt !== null && token.expiresAt < session.expiresAt ? token.expiresAt : session.expiresAt;
    await tx.changed(
      `INSERT INTO browser_sessions (id, hash, token_id, created_at, seen_at, expires_at) VALUES ($1, $2, $3, $4, $4, $5)`,
      [id, session.hash, token.id, tx.now, expiresAt],
    );
    await audit(tx, ctx, 'session.opened', token);
    return { id, expiresAt, token };
  });
}

/**
 * The session behind a cookie, marked as seen now. Null when it is unknown, over, idle for too long, or its token is.
 * One guarded statement writes at most once a minute, so that a busy page costs reads.
 */
export function browserSessionSee(
  db: Db,
  hash: string,
  idleSeconds: number,
): Promise<BrowserSessionRow | null> {
  return see(db, 'hash', hash, idleSeconds);
}

/** The same for what goes on beyond a request, as a terminal does. */
export function browserSessionSeeById(
  db: Db,
  id: string,
  idleSeconds: number,
): Promise<BrowserSessionRow | null> {
  return see(db, 'id', id, idleSeconds);
}

async function see(
  db: Db,
  column: 'hash' | 'id',
  value: string,
  idleSeconds: number,
): Promise<BrowserSessionRow | null> {
  const now = db.clock.now();
  const idleSince = new Date(now.getTime() - idleSeconds * 1000);
  const [row] = await read<SessionRecord>(
    db,
    `SELECT s.id AS "sessionId", s.expires_at AS "sessionExpiresAt", s.seen_at AS "seenAt", ${tokenColumns}
     FROM browser_sessions s JOIN tokens t ON t.id = s.token_id LEFT JOIN projects p ON p.id = t.project_id
     WHERE s.${column} = $1 AND s.expires_at > $2 AND s.seen_at > $3 AND ${alive(2)}`,
    [value, now, idleSince],
  );
  if (row === undefined) return null;
  const { sessionId, sessionExpiresAt, seenAt, ...token } = row;
  if (now.getTime() - seenAt.getTime() >= 60_000)
    await read(db, `UPDATE browser_sessions SET seen_at = $2 WHERE id = $1 AND seen_at < $2`, [
      sessionId,
      now,
    ]);
  return { id: sessionId, expiresAt: sessionExpiresAt, token };
}

export async function browserSessionEnd(
  db: Db,
  ctx: RequestContext,
  session: BrowserSessionRow,
): Promise<boolean> {
  return inTx(db, async (tx) => {
    if ((await tx.changed(`DELETE FROM browser_sessions WHERE id = $1`, [session.id])) === 0) return false;
    await audit(tx, ctx, 'session.ended', session.token);
    return true;
  });
}

export async function signInCodeCreate(
  db: Db,
  ctx: RequestContext,
  code: { hash: string; tokenId: string; expiresAt: Date },
): Promise<void> {
  await inTx(db, async (tx) => {
    const id = tx.ids.uuid();
    await tx.changed(
      `INSERT INTO sign_in_codes (id, hash, token_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)`,
      [id, code.hash, code.tokenId, tx.now, code.expiresAt],
    );
    const token = await tx.row<TokenRecord>(
      `SELECT ${tokenColumns} FROM tokens t LEFT JOIN projects p ON p.id = t.project_id WHERE t.id = $1`,
      [code.tokenId],
    );
    if (token !== null) await audit(tx, ctx, 'signInCode.created', token);
    await keyAnswer(tx, ctx, null);
  });
}

/** Uses a code up and returns its token; null when it is unknown, used, expired, or its token no longer speaks. */
export async function signInCodeConsume(db: Db, hash: string): Promise<TokenRow | null> {
  // The row goes whatever the token is: a code has one try.
  const [row] = await read<TokenRecord>(
    db,
    `WITH used AS (DELETE FROM sign_in_codes WHERE hash = $1 AND expires_at > $2 RETURNING token_id)
     SELECT ${tokenColumns} FROM used u JOIN tokens t ON t.id = u.token_id
     LEFT JOIN projects p ON p.id = t.project_id WHERE ${alive(2)}`,
    [hash, db.clock.now()],
  );
  return row ?? null;
}

/** Drops sessions and codes that are over; returns how many. */
export async function browserSessionsTrim(db: Db): Promise<number> {
  const now = db.clock.now();
  const rows = await read(
    db,
    `WITH codes AS (DELETE FROM sign_in_codes WHERE expires_at <= $1 RETURNING 1),
       sessions AS (DELETE FROM browser_sessions s USING tokens t WHERE t.id = s.token_id
         AND (s.expires_at <= $1 OR t.revoked_at IS NOT NULL) RETURNING 1)
     SELECT 1 FROM codes UNION ALL SELECT 1 FROM sessions`,
    [now],
  );
  return rows.length;
}

function audit(tx: Tx, ctx: RequestContext, type: string, token: TokenRow): Promise<void> {
  const object = { kind: 'token', id: token.id, name: token.name } as const;
  return eventsWrite(tx, ctx, [{ class: 'audit', type, projectId: token.projectId, object }]);
}
