import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, writeFileAtomic } from '@berth/linux';
import { InstanceId, SnapshotId, SnapshotTaken, VolumeId } from '@berth/model';
import { z } from 'zod';
import { listed } from './epoch-files.js';
import type { DiskVolumes } from './ports.js';

/*
 * One small file per snapshot beside its root disk, so that whichever driver runs the instance next finds it, and it goes with
 * the disk. It is written before acting:
 *
 *   (none) -> taking -> taken <-> reverting        removed last, when no disk holds the snapshot any more
 */

const SnapshotRecord = z.strictObject({
  snapshotId: SnapshotId,
  instanceId: InstanceId,
  /** The root disk first. */
  volumes: z.array(VolumeId).min(1),
  state: z.enum(['taking', 'taken', 'reverting']),
  /** What was said of it; null until it is taken. */
  taken: SnapshotTaken.nullable(),
});
export type SnapshotRecord = z.infer<typeof SnapshotRecord>;
export type TakenRecord = SnapshotRecord & { readonly taken: SnapshotTaken };

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
    await rm(this.#path(root, snapshotId), { force: true });
  }

  /** The snapshot to which this root disk is being brought back, or was when somebody was killed; null for none. */
  async reverting(root: VolumeId): Promise<SnapshotId | null> {
    for (const name of await listed(this.volumes.snapshotsPath(root))) {
      const snapshotId = SnapshotId.safeParse(name.replace(/\.json$/, ''));
      if (!snapshotId.success) continue;
      if ((await this.read(root, snapshotId.data))?.state === 'reverting') return snapshotId.data;
    }
    return null;
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
