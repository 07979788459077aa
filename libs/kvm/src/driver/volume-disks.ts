import { chown } from 'node:fs/promises';
import type { DiskFormat, DiskSource, HostVolume, VolumeId } from '@berth/model';
import { RuntimeError } from '@berth/runtime';
import type { MachineVolume } from '../machine/machine-spec.js';
import { cacheMode } from './cache-mode.js';
import type { DiskVolumes } from './ports.js';
import { checkReachable, type Account } from './qemu-account.js';

/** Files of data volumes on this host. */
export class VolumeDisks {
  constructor(private readonly pool: DiskVolumes) {}

  /**
   * A volume that nothing has open, made ready to be opened by QEMU: it is there, as large as asked for, and belongs to
   * this account. @throws RuntimeError noSpace, noSuchSnapshot, hostFault
   */
  async ready(
    volume: HostVolume,
    target: number,
    account: Account,
    signal: AbortSignal,
  ): Promise<MachineVolume> {
    const { id: volumeId, format, sizeMiB, readOnly, limits, source } = volume;
    const { path } = await poolFaults(`volume ${volumeId}`, () =>
      this.pool.ensureDataDisk({ volumeId, format, sizeMiB, source: sourceIn(source), signal }),
    );
    await this.grow(volumeId, sizeMiB);
    await checkReachable(path);
    const cache = await cacheMode(path);
    await chown(path, account.uid, account.gid);
    return { volumeId, path, format, readOnly, cache, limits, target };
  }

  /** Of a volume that nothing has open. @throws RuntimeError hostFault */
  async grow(volumeId: VolumeId, sizeMiB: number): Promise<void> {
    await poolFaults(`volume ${volumeId}`, () => this.pool.grow(volumeId, sizeMiB));
  }

  path(volumeId: VolumeId, format: DiskFormat): string {
    return this.pool.dataPath(volumeId, format);
  }
}

/** As the pool names it: snapshots have the names of their ids. */
export function sourceIn(
  source: DiskSource | undefined,
): { readonly volumeId: VolumeId; readonly snapshot: string } | undefined {
  return source === undefined ? undefined : { volumeId: source.volumeId, snapshot: source.snapshotId };
}

const passed = ['noSpace', 'noSuchSnapshot'] as const;

/** @throws RuntimeError noSpace, noSuchSnapshot, hostFault */
export async function poolFaults<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const code = passed.find((known) => known === (cause as { code?: unknown }).code) ?? 'hostFault';
    throw new RuntimeError(code, `${what} cannot be made: ${(cause as Error).message}`, { cause });
  }
}
