import { closeSync } from 'node:fs';
import { openTap } from '@berth/linux';
import type { NicId } from '@berth/model';
import { nicDevice, type MachineNic } from '../machine/machine-spec.js';
import type { QmpClient } from '../qmp/client.js';
import { QmpError, type ExecuteOptions, type QmpExecutor } from '../qmp/commands.js';
import { option, type OptionValue } from './options.js';

/*
 * Nics in QEMU: a network backend on the tap and a virtio device in a PCI Express port of its own, from which it can be
 * taken while the machine runs (QEMU's docs/pcie.txt; QMP reference: `getfd`, `netdev_add`, `device_add`).
 */

type Members = Readonly<Record<string, OptionValue>>;

export const nicPort = (port: number): string => `nic-port-${port}`;
/** All ports are functions of one device, where QEMU itself puts nothing: it counts from the lowest slot. */
const PORTS_SLOT = '0x10';

const netdev = (nicId: NicId): string => `net-${nicId}`;

/** So many ports. */
export function nicPortArguments(ports: number): string[] {
  return Array.from({ length: ports }, (_, port) => port).flatMap((port) =>
    option('-device', 'pcie-root-port', {
      id: nicPort(port),
      bus: 'pcie.0',
      addr: `${PORTS_SLOT}.${port}`,
      multifunction: true,
      chassis: port + 1,
    }),
  );
}

/** @param index its place among those of its machine */
export function nicArguments(nic: MachineNic, index: number, descriptor: number | undefined): string[] {
  if (descriptor === undefined) throw new Error(`nic ${nic.mac} has no tap descriptor`);
  if (nic.port !== null)
    return [
      ...option('-netdev', 'tap', { id: netdev(nic.id), fd: descriptor }),
      ...option('-device', null, deviceOf(nic, nic.port)),
    ];
  return [
    ...option('-netdev', 'tap', { id: `net${index}`, fd: descriptor }),
    ...option('-device', 'virtio-net-pci', { netdev: `net${index}`, mac: nic.mac, romfile: '' }),
  ];
}

function deviceOf(nic: MachineNic, port: number): Members {
  return {
    driver: 'virtio-net-pci',
    id: nicDevice(nic.id),
    bus: nicPort(port),
    netdev: netdev(nic.id),
    mac: nic.mac,
    // No option ROM: the root disk boots, and a network ROM costs start time.
    romfile: '',
  };
}

/** Plugs a nic into a machine that runs. What an attempt before this one left is taken away first. QEMU may open no tap. */
export async function plugNic(
  qmp: QmpClient,
  nic: MachineNic & { readonly port: number },
  bounds: ExecuteOptions,
): Promise<void> {
  await dropNetdev(qmp, nic.id, bounds);
  const descriptor = openTap(nic.tap);
  try {
    await qmp.hand('getfd', { fdname: netdev(nic.id) }, descriptor, bounds);
  } finally {
    closeSync(descriptor);
  }
  await qmp.execute('netdev_add', { type: 'tap', id: netdev(nic.id), fd: netdev(nic.id) }, bounds);
  await qmp.execute('device_add', { ...deviceOf(nic, nic.port), driver: 'virtio-net-pci' }, bounds);
}

/** Asks the guest to let go of a nic: its device is gone when it has. One that is gone, or was asked for just now, is no error. */
export async function unplugNic(qmp: QmpExecutor, nicId: NicId, bounds: ExecuteOptions): Promise<void> {
  try {
    await qmp.execute('device_del', { id: nicDevice(nicId) }, bounds);
  } catch (error) {
    if (!(error instanceof QmpError)) throw error;
    if (error.errorClass !== 'DeviceNotFound' && !/in the process of unplug/.test(error.message)) throw error;
  }
}

/** Closes the tap of a nic whose device is gone; one that is closed is no error. */
export async function dropNetdev(qmp: QmpExecutor, nicId: NicId, bounds: ExecuteOptions): Promise<void> {
  try {
    await qmp.execute('netdev_del', { id: netdev(nicId) }, bounds);
  } catch (error) {
    if (!(error instanceof QmpError)) throw error;
    if (!/not found/.test(error.message)) throw error;
  }
}
