import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import type { FirmwareKind, VolumeId } from '@berth/model';
import { RuntimeError } from '@berth/runtime';
import type { MachineFirmware } from '../machine/machine-spec.js';
import type { ExecuteOptions, QmpExecutor } from '../qmp/commands.js';
import type { DiskVolumes } from './ports.js';
import { checkReachable } from './qemu-account.js';
import { poolFaults } from './volume-disks.js';

type UefiKind = Exclude<FirmwareKind, 'bios'>;

/** Where the package ovmf has it. */
const DIRECTORY = '/usr/share/OVMF';

/** What QEMU calls the flash chip with the code. */
const FLASH = 'system.flash0';

/**
 * Code, which all machines share, and the variables that one begins with. Those of secure boot hold the keys of Microsoft,
 * by which the loaders of distributions are signed; without keys the same code checks nothing.
 */
const files: Readonly<Record<UefiKind, { readonly code: string; readonly variables: string }>> = {
  uefi: { code: 'OVMF_CODE_4M.fd', variables: 'OVMF_VARS_4M.fd' },
  secureBoot: { code: 'OVMF_CODE_4M.secboot.fd', variables: 'OVMF_VARS_4M.ms.fd' },
};

/** The kinds of UEFI firmware that this host has: facets of its machines. */
export async function firmwareKinds(directory = DIRECTORY): Promise<UefiKind[]> {
  const there: UefiKind[] = [];
  for (const kind of ['uefi', 'secureBoot'] as const) if (await isWhole(kind, directory)) there.push(kind);
  return there;
}

async function isWhole(kind: UefiKind, directory: string): Promise<boolean> {
  const { code, variables } = files[kind];
  const readable = [code, variables].map((name) => access(join(directory, name), constants.R_OK));
  return Promise.all(readable).then(
    () => true,
    () => false,
  );
}

/**
 * The firmware of a machine that nothing runs of, its variables with its root disk, made on first call; null for a BIOS.
 * @throws RuntimeError hostFault
 */
export async function machineFirmware(
  kind: FirmwareKind,
  root: VolumeId,
  volumes: Pick<DiskVolumes, 'variablesFile'>,
  directory = DIRECTORY,
): Promise<MachineFirmware | null> {
  if (kind === 'bios') return null;
  if (!(await isWhole(kind, directory)))
    throw new RuntimeError('hostFault', `there is no firmware for ${kind} in ${directory}`, {
      remedy: 'install the package ovmf',
    });
  const code = join(directory, files[kind].code);
  const template = join(directory, files[kind].variables);
  const variables = await poolFaults('the firmware', () =>
    volumes.variablesFile(root, `${kind}.fd`, template),
  );
  await checkReachable(variables);
  return { code, variables, secureBoot: kind === 'secureBoot' };
}

/** Which firmware a machine that runs was started with, by QEMU's own word (QOM): a machine without flash has no such device. */
export async function firmwareOf(qmp: QmpExecutor, bounds: ExecuteOptions): Promise<FirmwareKind> {
  const parts = await qmp.execute('qom-list', { path: '/machine' }, bounds);
  if (!parts.some(({ name }) => name === FLASH)) return 'bios';
  const secure = { path: `/machine/${FLASH}`, property: 'secure' };
  return (await qmp.execute('qom-get', secure, bounds)) === true ? 'secureBoot' : 'uefi';
}
