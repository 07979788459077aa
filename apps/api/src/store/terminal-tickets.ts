import type { InstanceId } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db } from './db.js';
import { inTx, read } from './db.js';
import { keyAnswer } from './keyed.js';
import type { TerminalTicketRow } from './rows.js';

export async function terminalTicketCreate(
  db: Db,
  ctx: RequestContext,
  ticket: TerminalTicketRow & { readonly hash: string; readonly expiresAt: Date },
): Promise<void> {
  await inTx(db, async (tx) => {
    await tx.changed(
      `INSERT INTO terminal_tickets (hash, token_id, session_id, instance_id, envelope, expires_at)
       VALUES ($1, $2, $3, $4, $5, $6)`,
      [ticket.hash, ticket.tokenId, ticket.sessionId, ticket.instanceId, ticket.envelope, ticket.expiresAt],
    );
    await keyAnswer(tx, ctx, null);
  });
}

/** Its row goes as it is taken: of two that come with one ticket, one finds it. */
export async function terminalTicketTake(db: Db, hash: string): Promise<TerminalTicketRow | null> {
  return inTx(db, async (tx) => {
    const row = await tx.row<{
      token_id: string;
      session_id: string | null;
      instance_id: InstanceId;
      envelope: string | null;
      expires_at: Date;
    }>(
      `DELETE FROM terminal_tickets WHERE hash = $1
       RETURNING token_id, session_id, instance_id, envelope, expires_at`,
      [hash],
    );
    // Without an envelope it was made by an API of before, beside this one.
    if (row === null || row.envelope === null || row.expires_at <= tx.now) return null;
    const { token_id: tokenId, session_id: sessionId, instance_id: instanceId, envelope } = row;
    return { tokenId, sessionId, instanceId, envelope };
  });
}

export async function terminalTicketsTrim(db: Db): Promise<number> {
  const gone = await read(db, `DELETE FROM terminal_tickets WHERE expires_at <= $1 RETURNING 1`, [
    db.clock.now(),
  ]);
  return gone.length;
}
