import { VolumeId, type DiskFormat, type VolumeLimits } from '@berth/model';
import { SCSI_CONTROLLER } from '../machine/machine-spec.js';
import { QmpError, type ExecuteOptions, type QmpExecutor } from '../qmp/commands.js';
import type { QueryBlockResult } from '../qmp/schema.gen.js';

const MIB = 2 ** 20;

/** A data volume that a machine has. */
export interface AttachedVolume {
  readonly volumeId: VolumeId;
  /** What QEMU calls its device. */
  readonly device: string;
  readonly format: DiskFormat;
  readonly sizeMiB: number;
  readonly readOnly: boolean;
  readonly limits: VolumeLimits;
  /** Its number on the SCSI controller; null while it is on its way out: QEMU still has its files open. */
  readonly target: number | null;
}

/** One that is not on its way out. */
export type PluggedVolume = AttachedVolume & { readonly target: number };

export interface AttachedDisks {
  /** Of the root disk; null when it cannot be told. */
  readonly rootMiB: number | null;
  readonly volumes: readonly AttachedVolume[];
}

/** The disks of a machine that runs, whichever driver started it, by QEMU's own word (QMP `query-block`). */
export async function attachedDisks(qmp: QmpExecutor, bounds: ExecuteOptions): Promise<AttachedDisks> {
  let rootMiB: number | null = null;
  const volumes: AttachedVolume[] = [];
  for (const block of await qmp.execute('query-block', undefined, bounds)) {
    const { inserted } = block;
    if (inserted === undefined || isFlash(block)) continue;
    const sizeMiB = inserted.image['virtual-size'] / MIB;
    const data = dataVolumeOf(block);
    if (data === null) {
      // The seed is the only other disk, and nobody may write it.
      if (!inserted.ro) rootMiB = sizeMiB;
      continue;
    }
    const { device, volumeId } = data;
    const target = await targetOf(qmp, device, bounds);
    const format = inserted.drv === 'raw' ? 'raw' : 'qcow2';
    const base = { volumeId, device, format, sizeMiB, readOnly: inserted.ro, target } as const;
    volumes.push({ ...base, limits: limitsOf(inserted) });
  }
  return { rootMiB, volumes };
}

/** Whether a block device is firmware, or its variables: no disk of the guest's. */
export function isFlash({ qdev = '' }: Pick<QueryBlockResult, 'qdev'>): boolean {
  return qdev.startsWith('/machine/system.flash');
}

/** Which data volume a block device is, by the name that it was given; null for another disk. */
export function dataVolumeOf({
  qdev = '',
}: Pick<QueryBlockResult, 'qdev'>): { readonly device: string; readonly volumeId: VolumeId } | null {
  const [device, id] = /((?:ua-)?vol-([0-9a-f-]{36}))(?:\/|$)/.exec(qdev)?.slice(1) ?? [];
  const volumeId = VolumeId.safeParse(id);
  return device === undefined || !volumeId.success ? null : { device, volumeId: volumeId.data };
}

/** A device's number on the controller; null when it is gone from there. */
async function targetOf(qmp: QmpExecutor, device: string, bounds: ExecuteOptions): Promise<number | null> {
  const property = { path: `/machine/peripheral/${device}`, property: 'scsi-id' };
  try {
    return Number(await qmp.execute('qom-get', property, bounds));
  } catch (error) {
    if (error instanceof QmpError && error.errorClass === 'DeviceNotFound') return null;
    throw error;
  }
}

/** Whether a machine has the controller that volumes are plugged into. */
export function hasScsi(qmp: QmpExecutor, bounds: ExecuteOptions): Promise<boolean> {
  return hasDevice(qmp, SCSI_CONTROLLER, bounds);
}

/** Whether a machine has the device that was given this name: both drivers call it the same. */
export async function hasDevice(qmp: QmpExecutor, device: string, bounds: ExecuteOptions): Promise<boolean> {
  const devices = await qmp.execute('qom-list', { path: '/machine/peripheral' }, bounds);
  return devices.some(({ name }) => name === device);
}

function limitsOf(of: NonNullable<QueryBlockResult['inserted']>): VolumeLimits {
  const set = {
    readBytesPerSecond: of.bps_rd,
    writeBytesPerSecond: of.bps_wr,
    readOperationsPerSecond: of.iops_rd,
    writeOperationsPerSecond: of.iops_wr,
  };
  return Object.fromEntries(Object.entries(set).filter(([, value]) => value > 0));
}
