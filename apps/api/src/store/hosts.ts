import type { Capabilities, Capacity, Host, HostId } from '@berth/model';
import { BerthError } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, isDuplicate, read } from './db.js';
import { eventsWrite } from './events.js';
import { hostOf } from './host-read.js';
import { matchVersion, nameTaken, notFound } from './refusals.js';

export const hostObject = (h: { id: string; name: string }) => ({
  kind: 'host' as const,
  id: h.id,
  name: h.name,
});

interface JoinToken {
  id: string;
  host_name: string | null;
  labels: Record<string, string>;
  consumed_at: Date | null;
  host_id: string | null;
}

/** @see HostStore.hostJoin */
export async function hostJoin(
  db: Db,
  join: { joinTokenHash: string; name: string; keyFingerprint: string; traceId: string },
): Promise<Host> {
  try {
    return await inTx(db, async (tx) => {
      const token = await tx.row<JoinToken & Record<string, unknown>>(
        // Locked: the second of two joins with one token waits here and then finds it used.
        `SELECT id, host_name, labels, consumed_at, host_id FROM join_tokens
         WHERE hash = $1 AND revoked_at IS NULL AND expires_at > $2 FOR UPDATE`,
        [join.joinTokenHash, tx.now],
      );
      const refused = new BerthError(
        'unauthenticated',
        'the join token is unknown, used, expired or for another host',
        {
          remedy: 'make a new one with `berth host join-token`',
        },
      );
      if (token === null || (token.host_name !== null && token.host_name !== join.name)) throw refused;
      if (token.host_id !== null) {
        const again = await tx.row(
          `SELECT 1 FROM hosts WHERE id = $1 AND key_fingerprint = $2 AND name = $3 AND removed_at IS NULL`,
          [token.host_id, join.keyFingerprint, join.name],
        );
        if (again === null) throw refused;
        return hostOf(tx, token.host_id);
      }
      const id = await hostWrite(tx, token, join);
      await tx.changed(`UPDATE join_tokens SET consumed_at = $2, host_id = $3 WHERE id = $1`, [
        token.id,
        tx.now,
        id,
      ]);
      await eventsWrite(tx, { actor: `host:${join.name}`, traceId: join.traceId }, [
        {
          class: 'audit',
          type: 'host.joined',
          projectId: null,
          object: hostObject({ id, name: join.name }),
          data: { keyFingerprint: join.keyFingerprint },
        },
      ]);
      return hostOf(tx, id);
    });
  } catch (error) {
    if (isDuplicate(error, 'hosts_name')) throw nameTaken('host', join.name);
    if (isDuplicate(error, 'hosts_key'))
      throw new BerthError('conflict', 'another host has this key', {
        remedy: "remove the agent's key files and join again",
      });
    throw error;
  }
}

/** A token that names an existing host lets it come back with a new key (its disk was lost); any other token makes a new host. */
async function hostWrite(
  tx: Tx,
  token: JoinToken,
  join: { name: string; keyFingerprint: string },
): Promise<string> {
  if (token.host_name !== null) {
    const back = await tx.row<{ id: string }>(
      `UPDATE hosts SET key_fingerprint = $2, revoked_at = NULL, resource_version = resource_version + 1, updated_at = $3
       WHERE name = $1 AND removed_at IS NULL RETURNING id`,
      [join.name, join.keyFingerprint, tx.now],
    );
    if (back !== null) return back.id;
  }
  const id = tx.ids.uuid();
  await tx.changed(
    `INSERT INTO hosts (id, name, labels, key_fingerprint, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)`,
    [id, join.name, JSON.stringify(token.labels), join.keyFingerprint, tx.now],
  );
  return id;
}

export async function hostAdmit(
  db: Db,
  id: HostId,
  keyFingerprint: string,
): Promise<'admitted' | 'unknown' | 'revoked' | 'keyMismatch'> {
  const [row] = await read<{ key_fingerprint: string; revoked_at: Date | null }>(
    db,
    `SELECT key_fingerprint, revoked_at FROM hosts WHERE id = $1 AND removed_at IS NULL`,
    [id],
  );
  if (row === undefined) return 'unknown';
  if (row.revoked_at !== null) return 'revoked';
  return row.key_fingerprint === keyFingerprint ? 'admitted' : 'keyMismatch';
}

export async function hostKeySet(
  db: Db,
  id: HostId,
  knownFingerprint: string,
  keyFingerprint: string,
): Promise<boolean> {
  return inTx(db, async (tx) => {
    const changed = await tx.changed(
      `UPDATE hosts SET key_fingerprint = $3, updated_at = $4 WHERE id = $1 AND key_fingerprint = $2 AND revoked_at IS NULL AND removed_at IS NULL`,
      [id, knownFingerprint, keyFingerprint, tx.now],
    );
    return changed > 0;
  });
}

export async function hostCapabilitiesSet(
  db: Db,
  hostId: HostId,
  session: number,
  capabilities: Capabilities,
  capacity: Capacity,
): Promise<boolean> {
  return inTx(db, async (tx) => {
    // The order of placementCommit: capacity, then host.
    await tx.rows(`SELECT 1 FROM host_capacity WHERE host_id = $1 FOR NO KEY UPDATE`, [hostId]);
    const host = await tx.row<{ name: string; differs: boolean }>(
      `UPDATE hosts h SET capabilities = $3, resource_version = h.resource_version + 1, updated_at = $4 FROM hosts before
       WHERE h.id = $1 AND before.id = h.id AND h.session = $2 AND h.removed_at IS NULL
       RETURNING h.name, before.capabilities IS DISTINCT FROM $3::jsonb AS differs`,
      [hostId, session, JSON.stringify(capabilities), tx.now],
    );
    if (host === null) return false;
    await tx.changed(
      `INSERT INTO host_capacity (host_id, cpu_millis, memory_mib, disk_mib, updated_at) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT (host_id) DO UPDATE SET cpu_millis = excluded.cpu_millis, memory_mib = excluded.memory_mib,
         disk_mib = excluded.disk_mib, updated_at = excluded.updated_at`,
      [hostId, capacity.cpuMillis, capacity.memoryMiB, capacity.diskMiB, tx.now],
    );
    if (host.differs)
      await eventsWrite(tx, { actor: `host:${host.name}`, traceId: `session-${session}` }, [
        {
          class: 'observation',
          type: 'host.capabilitiesChanged',
          projectId: null,
          object: hostObject({ id: hostId, name: host.name }),
        },
      ]);
    return true;
  });
}

async function hostLock(
  tx: Tx,
  name: string,
): Promise<{ id: HostId; resource_version: number; labels: Record<string, string>; schedulable: boolean }> {
  const host = await tx.row<{
    id: HostId;
    resource_version: number;
    labels: Record<string, string>;
    schedulable: boolean;
  }>(
    `SELECT id, resource_version, labels, schedulable FROM hosts WHERE name = $1 AND removed_at IS NULL FOR UPDATE`,
    [name],
  );
  if (host === null) throw notFound('host', name);
  return host;
}

export async function hostUpdate(
  db: Db,
  ctx: RequestContext,
  name: string,
  change: { labels?: Record<string, string>; schedulable?: boolean; ifMatch?: number },
): Promise<Host> {
  return inTx(db, async (tx) => {
    const host = await hostLock(tx, name);
    matchVersion(change.ifMatch, host.resource_version);
    const labels = change.labels ?? host.labels;
    const schedulable = change.schedulable ?? host.schedulable;
    await tx.changed(
      `UPDATE hosts SET labels = $2, schedulable = $3, resource_version = resource_version + 1, updated_at = $4 WHERE id = $1`,
      [host.id, JSON.stringify(labels), schedulable, tx.now],
    );
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: 'host.updated',
        projectId: null,
        object: hostObject({ id: host.id, name }),
        data: { labels, schedulable },
      },
    ]);
    return hostOf(tx, host.id);
  });
}

export async function hostRemove(db: Db, ctx: RequestContext, name: string): Promise<void> {
  return inTx(db, async (tx) => {
    // Waits for a placement that is being committed, and makes later ones find no room; then the count below is final.
    await tx.rows(
      `SELECT 1 FROM host_capacity c JOIN hosts h ON h.id = c.host_id WHERE h.name = $1 FOR UPDATE OF c`,
      [name],
    );
    const host = await hostLock(tx, name);
    const holds = await tx.row<{ n: number; volumes: number }>(
      `SELECT (SELECT count(*) FROM placements WHERE host_id = $1 AND phase <> 'ended') AS n,
         (SELECT count(*) FROM volumes WHERE host_id = $1) AS volumes`,
      [host.id],
    );
    if (holds !== null && (holds.n > 0 || holds.volumes > 0))
      throw new BerthError(
        'inUse',
        `host "${name}" still holds ${holds.n} placements and ${holds.volumes} volumes`,
        {
          remedy: 'delete or move its instances first',
        },
      );
    await tx.changed(
      `UPDATE hosts SET removed_at = $2, schedulable = false, session = NULL, resource_version = resource_version + 1, updated_at = $2 WHERE id = $1`,
      [host.id, tx.now],
    );
    await tx.changed(`DELETE FROM host_images WHERE host_id = $1`, [host.id]);
    await tx.changed(`DELETE FROM host_capacity WHERE host_id = $1`, [host.id]);
    await eventsWrite(tx, ctx, [
      { class: 'audit', type: 'host.removed', projectId: null, object: hostObject({ id: host.id, name }) },
    ]);
  });
}

export async function hostRevoke(db: Db, ctx: RequestContext, name: string): Promise<Host> {
  return inTx(db, async (tx) => {
    const host = await hostLock(tx, name);
    await tx.changed(
      `UPDATE hosts SET revoked_at = coalesce(revoked_at, $2), resource_version = resource_version + 1, updated_at = $2 WHERE id = $1`,
      [host.id, tx.now],
    );
    await eventsWrite(tx, ctx, [
      { class: 'audit', type: 'host.revoked', projectId: null, object: hostObject({ id: host.id, name }) },
    ]);
    return hostOf(tx, host.id);
  });
}
