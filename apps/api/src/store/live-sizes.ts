import type { HostId, InstanceId, InstanceSpec, Isolation, Sizes } from '@berth/model';
import { bookedBy, sizesNow } from '@berth/model';
import { sizesRoom } from './capacity.js';
import type { Tx } from './db.js';
import type { PlacementReport } from './rows.js';

/*
 * Room of what changes while it runs (ADR 30). A request books what is asked for beside what is had; what is had and no
 * longer asked for is let go when the host says that it is had no more. So a host never gives what nobody booked.
 */

interface Placed {
  epoch: number;
  host_id: HostId;
  isolation: Isolation;
  generation: number;
  sizes: Sizes;
  cpu_millis: number;
  memory_mib: number;
}

async function placedRead(tx: Tx, instanceId: InstanceId): Promise<Placed | null> {
  return tx.row<Placed & Record<string, unknown>>(
    `SELECT p.epoch, p.host_id, i.spec->>'isolation' AS isolation, i.generation, p.sizes, p.cpu_millis, p.memory_mib
     FROM placements p JOIN instances i ON i.id = p.instance_id
     WHERE p.instance_id = $1 AND p.role = 'owner' AND p.phase <> 'ended' AND p.sizes IS NOT NULL`,
    [instanceId],
  );
}

/** What runs of it is to have; null where nothing does. */
export async function sizesPlaced(tx: Tx, instanceId: InstanceId): Promise<Sizes | null> {
  return (await placedRead(tx, instanceId))?.sizes ?? null;
}

/** Of an instance that runs, or is about to: what of its new spec needs no restart is booked. @throws noRoom */
export async function sizesBook(tx: Tx, instanceId: InstanceId, spec: InstanceSpec): Promise<void> {
  const placed = await placedRead(tx, instanceId);
  if (placed === null) return;
  const sizes = sizesNow(placed.sizes, spec);
  const need = bookedBy(spec.isolation, sizes);
  await sizesRoom(tx, placed.host_id, {
    cpuMillis: need.cpuMillis - placed.cpu_millis,
    memoryMiB: need.memoryMiB - placed.memory_mib,
  });
  await tx.changed(
    `UPDATE placements SET sizes = $3, cpu_millis = greatest(cpu_millis, $4), memory_mib = greatest(memory_mib, $5)
     WHERE instance_id = $1 AND epoch = $2`,
    [instanceId, placed.epoch, JSON.stringify(sizes), need.cpuMillis, need.memoryMiB],
  );
}

/** Says whether room became free: what the host has by now, having heard of the newest spec, is less than was booked. */
export async function sizesSeen(tx: Tx, r: PlacementReport): Promise<boolean> {
  if (r.sizes === undefined || r.sizes === null || r.phase === 'ended') return false;
  const placed = await placedRead(tx, r.instanceId);
  if (placed === null || placed.epoch !== r.epoch) return false;
  const [has, wanted] = [r.sizes, placed.sizes].map((sizes) => bookedBy(placed.isolation, sizes));
  if (has === undefined || wanted === undefined) return false;
  const heard = (r.revision ?? 0) >= placed.generation;
  const keep = (booked: number): number => (heard ? 0 : booked);
  const cpuMillis = Math.max(has.cpuMillis, wanted.cpuMillis, keep(placed.cpu_millis));
  const memoryMiB = Math.max(has.memoryMiB, wanted.memoryMiB, keep(placed.memory_mib));
  await tx.changed(
    `UPDATE placements SET cpu_millis = $3, memory_mib = $4
     WHERE instance_id = $1 AND epoch = $2 AND (cpu_millis, memory_mib) <> ($3, $4)`,
    [r.instanceId, r.epoch, cpuMillis, memoryMiB],
  );
  return cpuMillis < placed.cpu_millis || memoryMiB < placed.memory_mib;
}
