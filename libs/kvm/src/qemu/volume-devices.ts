import { volumeSerial, type VolumeId, type VolumeLimits } from '@berth/model';
import { SCSI_CONTROLLER, volumeDevice, type MachineVolume } from '../machine/machine-spec.js';
import { QmpError, type ExecuteOptions, type QmpExecutor } from '../qmp/commands.js';
import { option, type OptionValue } from './options.js';

/*
 * A data volume in QEMU: a node for its file, one for its format, and a disk on the SCSI controller (QEMU QMP reference:
 * `blockdev-add`, `device_add`, `block_set_io_throttle`). The same members make the options of a machine that starts and
 * the commands to one that runs.
 */

type Members = Readonly<Record<string, OptionValue>>;

/** Names of nodes hold 31 characters at most, so they are made of the serial number. */
export const volumeNode = (volumeId: VolumeId): string => `vol-${volumeSerial(volumeId)}`;
const fileNode = (volumeId: VolumeId): string => `file-${volumeSerial(volumeId)}`;

function nodesOf(volume: MachineVolume): readonly [file: Members, disk: Members] {
  const common = { 'read-only': volume.readOnly, discard: 'unmap', 'cache.direct': volume.cache === 'none' };
  return [
    {
      driver: 'file',
      'node-name': fileNode(volume.volumeId),
      filename: volume.path,
      aio: 'threads',
      ...common,
    },
    {
      driver: volume.format,
      'node-name': volumeNode(volume.volumeId),
      file: fileNode(volume.volumeId),
      'detect-zeroes': 'unmap',
      ...common,
    },
  ];
}

function deviceOf({ volumeId, target }: MachineVolume): Members {
  const serial = volumeSerial(volumeId);
  return {
    driver: 'scsi-hd',
    id: volumeDevice(volumeId),
    bus: `${SCSI_CONTROLLER}.0`,
    'scsi-id': target,
    lun: 0,
    drive: volumeNode(volumeId),
    serial,
    device_id: serial,
    'write-cache': 'on',
    // A machine whose disk cannot be written stands still; it is let go on when it can.
    werror: 'stop',
    rerror: 'report',
  };
}

/** Options of a machine that starts with the volume. @throws OptionError */
export function volumeArguments(volume: MachineVolume): string[] {
  const [file, disk] = nodesOf(volume);
  return [
    ...option('-blockdev', null, file),
    ...option('-blockdev', null, disk),
    ...option('-device', null, deviceOf(volume)),
  ];
}

/** As QMP takes it: members with a dot are members of members. */
function nested(members: Members): never {
  const { 'cache.direct': direct, ...rest } = members;
  return (direct === undefined ? rest : { ...rest, cache: { direct } }) as never;
}

/** Plugs a volume into a machine that runs. What an attempt before this one left is taken away first. */
export async function plug(qmp: QmpExecutor, volume: MachineVolume, bounds: ExecuteOptions): Promise<void> {
  await dropNodes(qmp, volume.volumeId, bounds);
  for (const node of nodesOf(volume)) await qmp.execute('blockdev-add', nested(node), bounds);
  await qmp.execute('device_add', nested(deviceOf(volume)), bounds);
  if (Object.keys(volume.limits).length > 0) await throttle(qmp, volume.volumeId, volume.limits, bounds);
}

/** Begins to unplug a volume: its device is gone soon, and then its nodes may be dropped. One that is gone is no error. */
export async function unplug(qmp: QmpExecutor, volumeId: VolumeId, bounds: ExecuteOptions): Promise<void> {
  try {
    await qmp.execute('device_del', { id: volumeDevice(volumeId) }, bounds);
  } catch (error) {
    if (!(error instanceof QmpError && error.errorClass === 'DeviceNotFound')) throw error;
  }
}

/** Closes the files of a volume whose device is gone; those that are not there are no error. */
export async function dropNodes(qmp: QmpExecutor, volumeId: VolumeId, bounds: ExecuteOptions): Promise<void> {
  const nodes = await qmp.execute('query-named-block-nodes', { flat: true }, bounds);
  for (const name of [volumeNode(volumeId), fileNode(volumeId)])
    if (nodes.some((node) => node['node-name'] === name))
      await qmp.execute('blockdev-del', { 'node-name': name }, bounds);
}

/** Sets all limits of a volume's disk; those that are absent are lifted. */
export async function throttle(
  qmp: QmpExecutor,
  volumeId: VolumeId,
  limits: VolumeLimits,
  bounds: ExecuteOptions,
): Promise<void> {
  await qmp.execute(
    'block_set_io_throttle',
    {
      id: volumeDevice(volumeId),
      bps: 0,
      bps_rd: limits.readBytesPerSecond ?? 0,
      bps_wr: limits.writeBytesPerSecond ?? 0,
      iops: 0,
      iops_rd: limits.readOperationsPerSecond ?? 0,
      iops_wr: limits.writeOperationsPerSecond ?? 0,
    },
    bounds,
  );
}
