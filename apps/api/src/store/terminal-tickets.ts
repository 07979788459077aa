import type { InstanceId, TerminalOpen } from '@berth/model';
import type { Db } from './db.js';
import { inTx, read } from './db.js';
import type { TerminalTicketRow } from './rows.js';

export async function terminalTicketCreate(
  db: Db,
  ticket: TerminalTicketRow & { readonly hash: string; readonly expiresAt: Date },
): Promise<void> {
  await inTx(db, (tx) =>
    tx.changed(
      `INSERT INTO terminal_tickets (hash, token_id, instance_id, opens, expires_at) VALUES ($1, $2, $3, $4, $5)`,
      [ticket.hash, ticket.tokenId, ticket.instanceId, JSON.stringify(ticket.opens), ticket.expiresAt],
    ),
  );
}

/** Its row goes as it is taken: of two that come with one ticket, one finds it. */
export async function terminalTicketTake(db: Db, hash: string): Promise<TerminalTicketRow | null> {
  return inTx(db, async (tx) => {
    const row = await tx.row<{
      token_id: string;
      instance_id: InstanceId;
      opens: TerminalOpen;
      expires_at: Date;
    }>(`DELETE FROM terminal_tickets WHERE hash = $1 RETURNING token_id, instance_id, opens, expires_at`, [
      hash,
    ]);
    if (row === null || row.expires_at <= tx.now) return null;
    return { tokenId: row.token_id, instanceId: row.instance_id, opens: row.opens };
  });
}

export async function terminalTicketsTrim(db: Db): Promise<number> {
  const gone = await read(db, `DELETE FROM terminal_tickets WHERE expires_at <= $1 RETURNING 1`, [
    db.clock.now(),
  ]);
  return gone.length;
}
