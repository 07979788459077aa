import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, writeFileAtomic } from '@berth/linux';
import { InstanceId, SnapshotId, SnapshotTaken, VolumeId, WatchdogAction } from '@berth/model';
import { z } from 'zod';
import { listed } from './epoch-files.js';
import { memoryDiscarded } from './memory-images.js';
import type { DiskVolumes } from './ports.js';
import { MachineShape } from './workload-record.js';

/*
 * One small file per snapshot beside its root disk, so that whichever driver runs the instance next finds it, and it goes with
 * the disk. It is written before acting:
 *
 *   (none) -> taking -> taken <-> reverting        removed last, when no disk holds the snapshot any more
 *                         ^           |
 *                         +- pending <+            with memory: the disks are as it, and the next start goes on with it. Whatever
 *                                                  lets a guest run from the disks makes it `taken` before
 */

/** What a memory that a snapshot holds fits. */
const SnapshotMemory = MachineShape.extend({
  /** In whose form it is. */
  driver: z.string(),
  watchdog: WatchdogAction.nullable(),
  cpuModel: z.string().nullable(),
});
export type SnapshotMemory = z.infer<typeof SnapshotMemory>;

const SnapshotRecord = z.strictObject({
  snapshotId: SnapshotId,
  instanceId: InstanceId,
  /** The root disk first. */
  volumes: z.array(VolumeId).min(1),
  state: z.enum(['taking', 'taken', 'reverting', 'pending']),
  /** What was said of it; null until it is taken. */
  taken: SnapshotTaken.nullable(),
  /** Set when its guest's memory is part of it, in the file beside this. */
  memory: SnapshotMemory.nullable().default(null),
});
export type SnapshotRecord = z.infer<typeof SnapshotRecord>;
export type TakenRecord = SnapshotRecord & { readonly taken: SnapshotTaken };
export type PendingRecord = TakenRecord & { readonly memory: SnapshotMemory };

const isPending = (record: SnapshotRecord): record is PendingRecord =>
  record.state === 'pending' && record.taken !== null && record.memory !== null;

export const isTaken = (record: SnapshotRecord | null): record is TakenRecord =>
  record !== null && record.taken !== null;

export class SnapshotRecords {
  constructor(private readonly volumes: Pick<DiskVolumes, 'snapshotsPath'>) {}

  async read(root: VolumeId, snapshotId: SnapshotId): Promise<SnapshotRecord | null> {
    try {
      return SnapshotRecord.parse(JSON.parse(await readFile(this.#path(root, snapshotId), 'utf8')));
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return null;
      throw error;
    }
  }

  async write(record: SnapshotRecord): Promise<void> {
    const root = rootOf(record.volumes);
    await mkdir(this.volumes.snapshotsPath(root), { mode: 0o700 }).catch((error: unknown) => {
      if (!hasCode(error, 'EEXIST')) throw error;
    });
    await writeFileAtomic(this.#path(root, record.snapshotId), `${JSON.stringify(record)}\n`, {
      mode: 0o600,
    });
  }

  async remove(root: VolumeId, snapshotId: SnapshotId): Promise<void> {
    await memoryDiscarded(this.memoryPath(root, snapshotId));
    await rm(this.#path(root, snapshotId), { force: true });
  }

  /** The snapshot to which this root disk is being brought back, or was when somebody was killed; null for none. */
  async reverting(root: VolumeId): Promise<SnapshotId | null> {
    return (await this.#all(root)).find(({ state }) => state === 'reverting')?.snapshotId ?? null;
  }

  /** The one whose memory the next start from this root disk goes on with; null for none. */
  async pending(root: VolumeId): Promise<PendingRecord | null> {
    return (await this.#all(root)).find(isPending) ?? null;
  }

  /** From now on the disks are no longer as any of them. */
  async moveOn(root: VolumeId): Promise<void> {
    for (const record of await this.#all(root))
      if (record.state === 'pending') await this.write({ ...record, state: 'taken' });
  }

  /** File with the memory of a snapshot, where it has one. */
  memoryPath(root: VolumeId, snapshotId: SnapshotId): string {
    return join(this.volumes.snapshotsPath(root), `${snapshotId}.memory`);
  }

  async #all(root: VolumeId): Promise<SnapshotRecord[]> {
    const records: SnapshotRecord[] = [];
    for (const name of await listed(this.volumes.snapshotsPath(root))) {
      const snapshotId = SnapshotId.safeParse(/^(.*)\.json$/.exec(name)?.[1]);
      const record = snapshotId.success ? await this.read(root, snapshotId.data) : null;
      if (record !== null) records.push(record);
    }
    return records;
  }

  #path(root: VolumeId, snapshotId: SnapshotId): string {
    return join(this.volumes.snapshotsPath(root), `${snapshotId}.json`);
  }
}

/** @throws Error when there is none, which no snapshot is without */
export function rootOf(volumes: readonly VolumeId[]): VolumeId {
  const [root] = volumes;
  if (root === undefined) throw new Error('a snapshot has a root disk');
  return root;
}
