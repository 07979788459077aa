import type { HostId } from '@berth/model';
import { BerthError } from '@berth/model';
import type { Tx } from './db.js';
import { usedOf } from './host-read.js';

/** The lock that keeps two commits from booking the same room. It must be a statement before the look. */
export async function capacityLock(tx: Tx, hostId: HostId): Promise<void> {
  await tx.rows(`SELECT 1 FROM host_capacity WHERE host_id = $1 FOR NO KEY UPDATE`, [hostId]);
}

/** Takes the host's lock, and looks whether it has room for more disk. @throws noRoom */
export async function diskRoom(tx: Tx, hostId: HostId, needMiB: number): Promise<void> {
  await capacityLock(tx, hostId);
  const room = await tx.row<{ name: string; free: number }>(
    `SELECT h.name, c.disk_mib - u.used_disk AS free FROM hosts h JOIN host_capacity c ON c.host_id = h.id
     CROSS JOIN LATERAL (${usedOf('h.id')}) u WHERE h.id = $1 AND h.removed_at IS NULL`,
    [hostId],
  );
  const free = Math.max(0, room?.free ?? 0);
  if (needMiB <= free) return;
  throw new BerthError(
    'noRoom',
    `host ${room?.name ?? hostId} has ${free} MiB of disk left, not ${needMiB}`,
    {
      remedy: 'Ask for less, or delete volumes or instances of that host.',
    },
  );
}
