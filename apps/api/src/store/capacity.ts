import type { HostId } from '@berth/model';
import { BerthError } from '@berth/model';
import type { Tx } from './db.js';
import { usedOf } from './host-read.js';

/** The lock that keeps two commits from booking the same room. It must be a statement before the look. */
export async function capacityLock(tx: Tx, hostId: HostId): Promise<void> {
  await tx.rows(`SELECT 1 FROM host_capacity WHERE host_id = $1 FOR NO KEY UPDATE`, [hostId]);
}

interface Free {
  name: string;
  cpu: number;
  memory: number;
  disk: number;
}

/** Takes the host's lock, and reads what is not booked; below zero where the host has become smaller. */
async function freeRead(tx: Tx, hostId: HostId): Promise<Free | null> {
  await capacityLock(tx, hostId);
  return tx.row<Free & Record<string, unknown>>(
    `SELECT h.name, c.cpu_millis - u.used_cpu AS cpu, c.memory_mib - u.used_memory AS memory, c.disk_mib - u.used_disk AS disk
     FROM hosts h JOIN host_capacity c ON c.host_id = h.id
     CROSS JOIN LATERAL (${usedOf('h.id')}) u WHERE h.id = $1 AND h.removed_at IS NULL`,
    [hostId],
  );
}

/** Takes the host's lock, and looks whether it has room for what runs there to become so much larger. @throws noRoom */
export async function sizesRoom(
  tx: Tx,
  hostId: HostId,
  more: { readonly cpuMillis: number; readonly memoryMiB: number },
): Promise<void> {
  const room = await freeRead(tx, hostId);
  const lacks = (what: string, free: number, need: number): void => {
    if (need <= 0 || need <= free) return;
    throw new BerthError(
      'noRoom',
      `host ${room?.name ?? hostId} has ${Math.max(0, free)} ${what} left, not ${need} more`,
      {
        remedy: 'ask for less, or stop or delete other instances of that host',
      },
    );
  };
  lacks('thousandths of a processor', room?.cpu ?? 0, more.cpuMillis);
  lacks('MiB of memory', room?.memory ?? 0, more.memoryMiB);
}

/** Takes the host's lock, and looks whether it has room for more disk. @throws noRoom */
export async function diskRoom(tx: Tx, hostId: HostId, needMiB: number): Promise<void> {
  const room = await freeRead(tx, hostId);
  const free = Math.max(0, room?.disk ?? 0);
  if (needMiB <= free) return;
  throw new BerthError(
    'noRoom',
    `host ${room?.name ?? hostId} has ${free} MiB of disk left, not ${needMiB}`,
    {
      remedy: 'Ask for less, or delete volumes or instances of that host.',
    },
  );
}
