import type { SnapshotId, VolumeId } from '@berth/model';
import { RuntimeError, type SnapshotOf } from '@berth/runtime';
import type { ExecuteOptions, QmpExecutor } from '../qmp/commands.js';
import { dataVolumeOf, isFlash } from './attached-disks.js';
import { rootOf } from './snapshot-records.js';

/** A disk of a machine that runs. */
interface LiveDisk {
  readonly volumeId: VolumeId;
  /** Name of the node that the device has. */
  readonly node: string;
  readonly format: string;
  readonly readOnly: boolean;
  /** Names of the snapshots in it. */
  readonly snapshots: readonly string[];
}

/** All disks of the machine, by QEMU's own word (QMP `query-block`); the one that is no data volume is the root disk. */
async function liveDisks(qmp: QmpExecutor, root: VolumeId, bounds: ExecuteOptions): Promise<LiveDisk[]> {
  const disks: LiveDisk[] = [];
  for (const block of await qmp.execute('query-block', undefined, bounds)) {
    const { inserted } = block;
    const node = inserted?.['node-name'];
    if (inserted === undefined || node === undefined || isFlash(block)) continue;
    const data = dataVolumeOf(block);
    // The seed is the only other disk, and nobody may write it.
    if (data === null && inserted.ro) continue;
    disks.push({
      volumeId: data?.volumeId ?? root,
      node,
      format: inserted.drv,
      readOnly: inserted.ro,
      snapshots: (inserted.image.snapshots ?? []).map(({ name }) => name),
    });
  }
  return disks;
}

/**
 * Takes all disks of a snapshot in one transaction of QEMU: all of them, at one moment between two writes of the guest,
 * or none (QMP `transaction` of `blockdev-snapshot-internal-sync`). What an attempt before left is taken away first.
 * @throws RuntimeError notPrepared (a disk that the machine does not have), unsupported
 */
export async function takeLive(qmp: QmpExecutor, of: SnapshotOf, bounds: ExecuteOptions): Promise<void> {
  const { snapshotId: name, volumes } = of;
  const has = await liveDisks(qmp, rootOf(volumes), bounds);
  const disks = volumes.map((volumeId) => takeable(has, volumeId));
  await removeFrom(qmp, disks, name, bounds);
  const actions = disks.map(({ node: device }) => {
    return { type: 'blockdev-snapshot-internal-sync', data: { device, name } } as const;
  });
  await qmp.execute('transaction', { actions }, bounds);
}

/** @throws RuntimeError */
function takeable(has: readonly LiveDisk[], volumeId: VolumeId): LiveDisk {
  const disk = has.find((one) => one.volumeId === volumeId);
  if (disk === undefined)
    throw new RuntimeError('notPrepared', `the machine does not have volume ${volumeId} yet`);
  if (disk.format !== 'qcow2')
    throw new RuntimeError('unsupported', `volume ${volumeId} is ${disk.format}, which holds no snapshots`);
  if (disk.readOnly)
    throw new RuntimeError('unsupported', `volume ${volumeId} is attached for reading only`, {
      remedy: 'stop the instance, or attach the volume for writing',
    });
  return disk;
}

/** Takes a snapshot out of every disk that the machine has. Returns the volumes it has not. */
export async function removeLive(
  qmp: QmpExecutor,
  of: SnapshotOf,
  bounds: ExecuteOptions,
): Promise<VolumeId[]> {
  const has = await liveDisks(qmp, rootOf(of.volumes), bounds);
  await removeFrom(
    qmp,
    has.filter(({ volumeId }) => of.volumes.includes(volumeId)),
    of.snapshotId,
    bounds,
  );
  return of.volumes.filter((id) => !has.some(({ volumeId }) => volumeId === id));
}

async function removeFrom(
  qmp: QmpExecutor,
  disks: readonly LiveDisk[],
  name: SnapshotId,
  bounds: ExecuteOptions,
): Promise<void> {
  for (const { node: device, snapshots } of disks)
    if (snapshots.includes(name))
      await qmp.execute('blockdev-snapshot-delete-internal-sync', { device, name }, bounds);
}
