import {
  bootOrder,
  cdromDevice,
  cdromTarget,
  SCSI_CONTROLLER,
  type MachineCdrom,
} from '../machine/machine-spec.js';
import type { ExecuteOptions, QmpExecutor } from '../qmp/commands.js';
import { fileNode } from './machine-parts.js';
import { option } from './options.js';

/*
 * CD-ROM drives in QEMU (QMP reference: `blockdev-open-tray`, `blockdev-change-medium`, `blockdev-remove-medium`). What lies in a drive
 * at the start is nodes of ours; what is put in later is QEMU's own, and goes with the drive.
 */

const nodesOf = (drive: number): { readonly file: string; readonly medium: string } => ({
  file: `${cdromDevice(drive)}-file`,
  medium: `${cdromDevice(drive)}-medium`,
});

/** Options of a machine that starts with these drives. @throws OptionError */
export function cdromArguments(cdroms: readonly MachineCdrom[]): string[] {
  const order = bootOrder(cdroms).cdroms;
  return cdroms.flatMap(({ bus, medium }, drive) => {
    const nodes = nodesOf(drive);
    const place =
      bus === 'scsi'
        ? { bus: `${SCSI_CONTROLLER}.0`, 'scsi-id': cdromTarget(drive), lun: 0 }
        : { bus: `ide.${drive}` };
    const media =
      medium === null
        ? []
        : [
            ...fileNode(nodes.file, medium, { 'read-only': true }),
            ...option('-blockdev', 'raw', { 'node-name': nodes.medium, file: nodes.file, 'read-only': true }),
          ];
    const device = {
      id: cdromDevice(drive),
      ...place,
      drive: medium === null ? null : nodes.medium,
      bootindex: order[drive] ?? 0,
    };
    return [...media, ...option('-device', bus === 'scsi' ? 'scsi-cd' : 'ide-cd', device)];
  });
}

/** Asks for the tray to be opened: one that its guest has locked stays closed, and the guest hears of it. One that is open is no error. */
export async function openTray(
  qmp: QmpExecutor,
  drive: number,
  force: boolean,
  bounds: ExecuteOptions,
): Promise<void> {
  await qmp.execute('blockdev-open-tray', { id: cdromDevice(drive), force }, bounds);
}

/** Puts another medium into a drive whose tray is open, or none, and closes it. What lay in it is closed. */
export async function changeMedium(
  qmp: QmpExecutor,
  drive: number,
  medium: string | null,
  bounds: ExecuteOptions,
): Promise<void> {
  const id = cdromDevice(drive);
  if (medium === null) {
    await qmp.execute('blockdev-remove-medium', { id }, bounds);
    await qmp.execute('blockdev-close-tray', { id }, bounds);
  } else
    // One command, so that no end of ours leaves the tray open.
    await qmp.execute(
      'blockdev-change-medium',
      { id, filename: medium, format: 'raw', 'read-only-mode': 'read-only' },
      bounds,
    );
  await dropMedium(qmp, drive, bounds);
}

/** Closes what a drive was started with; what is closed is no error. */
async function dropMedium(qmp: QmpExecutor, drive: number, bounds: ExecuteOptions): Promise<void> {
  const nodes = await qmp.execute('query-named-block-nodes', { flat: true }, bounds);
  for (const name of [nodesOf(drive).medium, nodesOf(drive).file])
    if (nodes.some((node) => node['node-name'] === name))
      await qmp.execute('blockdev-del', { 'node-name': name }, bounds);
}
