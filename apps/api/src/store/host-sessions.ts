import { clockTrouble, type HostId } from '@berth/model';
import type { Db } from './db.js';
import { inTx } from './db.js';
import { eventsWrite } from './events.js';
import { hostObject } from './hosts.js';
import { incarnationOf } from './meta.js';
import type { SessionOpen } from './rows.js';
import { instancesOn, instancesRefresh } from './silence.js';

export async function hostSessionOpen(
  db: Db,
  open: { hostId: HostId; keyFingerprint: string; bootId: string; agentVersion: string },
): Promise<SessionOpen> {
  const opened = await inTx(db, async (tx): Promise<SessionOpen> => {
    const host = await tx.row<{
      name: string;
      key_fingerprint: string;
      revoked_at: Date | null;
      assignment_rev: number;
    }>(
      `SELECT name, key_fingerprint, revoked_at, assignment_rev FROM hosts WHERE id = $1 AND removed_at IS NULL FOR NO KEY UPDATE`,
      [open.hostId],
    );
    if (host === null) return { outcome: 'refused', reason: 'unknown' };
    if (host.revoked_at !== null) return { outcome: 'refused', reason: 'revoked' };
    if (host.key_fingerprint !== open.keyFingerprint) return { outcome: 'refused', reason: 'keyMismatch' };
    if (
      (await tx.row(`SELECT 1 FROM fences WHERE host_id = $1 AND boot_id = $2`, [
        open.hostId,
        open.bootId,
      ])) !== null
    )
      return { outcome: 'refused', reason: 'fenced' };
    const issued = await tx.row<{ session: number }>(
      `INSERT INTO host_sessions (host_id, boot_id, agent_version, opened_at) VALUES ($1, $2, $3, $4) RETURNING session`,
      [open.hostId, open.bootId, open.agentVersion, tx.now],
    );
    const session = issued?.session ?? 0;
    await tx.changed(
      `UPDATE hosts SET session = $2, boot_id = $3, agent_version = $4, last_seen_at = $5, silent_since = NULL,
         resource_version = resource_version + 1, updated_at = $5 WHERE id = $1`,
      [open.hostId, session, open.bootId, open.agentVersion, tx.now],
    );
    await eventsWrite(tx, { actor: `host:${host.name}`, traceId: `session-${session}` }, [
      {
        class: 'lifecycle',
        type: 'host.connected',
        projectId: null,
        object: hostObject({ id: open.hostId, name: host.name }),
        data: { session, bootId: open.bootId },
      },
    ]);
    return {
      outcome: 'open',
      session,
      assignmentRev: host.assignment_rev,
      storeIncarnation: await incarnationOf(tx),
    };
  });
  if (opened.outcome === 'open') await instancesRefresh(db, await instancesOn(db, open.hostId));
  return opened;
}

export async function hostSeen(
  db: Db,
  hostId: HostId,
  session: number,
): Promise<{ changed: boolean; back: boolean }> {
  const seen = await inTx(db, async (tx) => {
    const changed = await tx.changed(
      `UPDATE hosts SET last_seen_at = $3 WHERE id = $1 AND session = $2 AND silent_since IS NULL AND removed_at IS NULL`,
      [hostId, session, tx.now],
    );
    if (changed > 0) return { changed: true, back: false };
    const host = await tx.row<{ name: string }>(
      `UPDATE hosts SET last_seen_at = $3, silent_since = NULL, resource_version = resource_version + 1, updated_at = $3
       WHERE id = $1 AND session = $2 AND removed_at IS NULL RETURNING name`,
      [hostId, session, tx.now],
    );
    if (host === null) return { changed: false, back: false };
    await eventsWrite(tx, { actor: `host:${host.name}`, traceId: `session-${session}` }, [
      {
        class: 'lifecycle',
        type: 'host.back',
        projectId: null,
        object: hostObject({ id: hostId, name: host.name }),
      },
    ]);
    return { changed: true, back: true };
  });
  if (seen.back) await instancesRefresh(db, await instancesOn(db, hostId));
  return seen;
}

/** @see HostStore.hostClockSet */
export async function hostClockSet(
  db: Db,
  hostId: HostId,
  session: number,
  aheadMs: number,
): Promise<boolean> {
  return inTx(db, async (tx) => {
    const host = await tx.row<{ name: string; before: number | null }>(
      `UPDATE hosts h SET clock_ahead_ms = $3, resource_version = h.resource_version + 1, updated_at = $4 FROM hosts o
       WHERE h.id = $1 AND o.id = h.id AND h.session = $2 AND h.removed_at IS NULL
         AND o.clock_ahead_ms IS DISTINCT FROM $3
       RETURNING h.name, o.clock_ahead_ms AS before`,
      [hostId, session, aheadMs, tx.now],
    );
    if (host === null) return false;
    const [was, is] = [host.before, aheadMs].map((clockAheadMs) => clockTrouble({ clockAheadMs }));
    if ((was === null) === (is === null)) return true;
    await eventsWrite(tx, { actor: `host:${host.name}`, traceId: `session-${session}` }, [
      {
        class: 'observation',
        type: is === null ? 'host.clockRight' : 'host.clockWrong',
        projectId: null,
        object: hostObject({ id: hostId, name: host.name }),
        data: { clockAheadMs: aheadMs },
      },
    ]);
    return true;
  });
}

/** @see ReconcileStore.hostSessionsTrim */
export async function hostSessionsTrim(db: Db, keep: number): Promise<number> {
  return inTx(db, (tx) =>
    tx.changed(
      `DELETE FROM host_sessions s USING hosts h CROSS JOIN LATERAL
         (SELECT session FROM host_sessions WHERE host_id = h.id ORDER BY session DESC OFFSET $1 LIMIT 1) oldest
       WHERE s.host_id = h.id AND s.session <= oldest.session`,
      [keep],
    ),
  );
}
