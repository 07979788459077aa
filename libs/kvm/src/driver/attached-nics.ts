import { NicId } from '@berth/model';
import { QmpError, type ExecuteOptions, type QmpExecutor } from '../qmp/commands.js';

/** A nic that a machine has. */
export interface AttachedNic {
  readonly nicId: NicId;
  /** What QEMU calls its device. */
  readonly device: string;
  /** Number of its slot; null where its driver chose it. */
  readonly port: number | null;
}

/** The nics of a machine that has slots for them. */
export interface AttachedNics {
  readonly nics: readonly AttachedNic[];
  /** How many slots it has; null where its driver gives them away. */
  readonly ports: number | null;
}

/** Names of nics that came before each had one of its own, as libvirt gives them. */
const UNNAMED = /^net\d+$/;
/** Ports for nics, as our own driver calls them, and the first of libvirt's, which are for all devices. */
const PORT = /^nic-port-\d+$/;
const LIBVIRT_PORT = 'pci.1';

/**
 * The nics of a machine that runs, whichever driver started it, by QEMU's own word (QMP `qom-list`). Null of one that was
 * started before nics had names and slots: nobody can tell them apart, or take them away.
 */
export async function attachedNics(qmp: QmpExecutor, bounds: ExecuteOptions): Promise<AttachedNics | null> {
  const peripherals = await qmp.execute('qom-list', { path: '/machine/peripheral' }, bounds);
  const names = peripherals.map(({ name }) => name);
  const ports = names.filter((name) => PORT.test(name)).length;
  const known = ports > 0 || names.includes(LIBVIRT_PORT);
  if (!known || names.some((name) => UNNAMED.test(name))) return null;
  const nics: AttachedNic[] = [];
  for (const device of names) {
    const nicId = NicId.safeParse(/^(?:ua-)?nic-([0-9a-f-]{36})$/.exec(device)?.[1]);
    if (!nicId.success) continue;
    const bus = await busOf(qmp, device, bounds);
    if (bus === null) continue;
    const port = /\/nic-port-(\d+)$/.exec(bus)?.[1];
    nics.push({ nicId: nicId.data, device, port: port === undefined ? null : Number(port) });
  }
  return { nics, ports: ports > 0 ? ports : null };
}

/** What a device is plugged into; null when its guest let go of it since the list was read. */
async function busOf(qmp: QmpExecutor, device: string, bounds: ExecuteOptions): Promise<string | null> {
  const property = { path: `/machine/peripheral/${device}`, property: 'parent_bus' };
  try {
    return String(await qmp.execute('qom-get', property, bounds));
  } catch (error) {
    if (error instanceof QmpError && error.errorClass === 'DeviceNotFound') return null;
    throw error;
  }
}
