import { displaysMost, type NicId } from '@berth/model';
import { RuntimeError } from '@berth/runtime';
import {
  BALLOON_DEVICE,
  screenDevice,
  TPM_DEVICE,
  USB_CONTROLLER,
  VSOCK_DEVICE,
} from '../machine/machine-spec.js';
import { QmpError, type ExecuteOptions, type QmpExecutor } from '../qmp/commands.js';
import { drivesOf } from './attached-cdroms.js';
import { attachedNics } from './attached-nics.js';
import { attachedDisks, hasDevice, hasScsi } from './attached-disks.js';
import { firmwareOf } from './firmware.js';
import { hugePagesOf } from './huge-pages.js';
import { plugOf } from './memory-plug.js';
import { numaNodesOf } from './numa-nodes.js';
import type { NicSeen } from './ports.js';
import { vcpuPlugOf, vcpusSeen } from './vcpu-plug.js';
import { MachineShape } from './workload-record.js';

const MIB = 2 ** 20;

/**
 * What a QEMU that is to take over this one's memory must have in common with it (QEMU QMP reference: `query-kvm`,
 * `query-hotpluggable-cpus`, `query-memory-size-summary`, and type and flash of `/machine`). @param taps those of its epoch on this host @throws RuntimeError hostFault
 */
export async function machineShape(
  qmp: QmpExecutor,
  taps: readonly NicSeen[],
  bounds: ExecuteOptions,
): Promise<MachineShape> {
  const kvm = await qmp.execute('query-kvm', undefined, bounds);
  const processors = await vcpusSeen(qmp, bounds);
  const memory = await qmp.execute('query-memory-size-summary', undefined, bounds);
  const type = await qmp.execute('qom-get', { path: '/machine', property: 'type' }, bounds);
  const disks = await attachedDisks(qmp, bounds);
  const had = await attachedNics(qmp, bounds);
  const shape = MachineShape.safeParse({
    accel: kvm.enabled ? 'kvm' : 'tcg',
    machineType: String(type).replace(/-machine$/, ''),
    vcpus: processors.boot,
    vcpuPlug: vcpuPlugOf(processors),
    memoryMiB: memory['base-memory'] / MIB,
    plug: await plugOf(qmp, bounds),
    display: await hasDisplay(qmp, bounds),
    displays: await displays(qmp, bounds),
    firmware: await firmwareOf(qmp, bounds),
    tpm: await hasDevice(qmp, TPM_DEVICE, bounds),
    hugePages: await hugePagesOf(qmp, bounds),
    usbTablet: await hasDevice(qmp, USB_CONTROLLER, bounds),
    numaNodes: await numaNodesOf(qmp, bounds),
    vsock: await hasDevice(qmp, VSOCK_DEVICE, bounds),
    freePageReporting: await reportsFreePages(qmp, bounds),
    scsi: await hasScsi(qmp, bounds),
    nics: had?.nics.map(({ nicId, port }) => savedNic(taps, nicId, port)) ?? null,
    nicPorts: had?.ports ?? 0,
    cdroms: await drivesOf(qmp, bounds),
    volumes: disks.volumes.flatMap(({ volumeId: id, format, readOnly, target, limits }) =>
      target === null ? [] : [{ id, format, readOnly, target, limits }],
    ),
  });
  if (shape.success) return shape.data;
  throw new RuntimeError('hostFault', `QEMU does not say what it is: ${shape.error.message}`);
}

/** The balloon of a machine of before there was a choice has no name under our driver. */
async function reportsFreePages(qmp: QmpExecutor, bounds: ExecuteOptions): Promise<boolean> {
  if (!(await hasDevice(qmp, BALLOON_DEVICE, bounds))) return false;
  const property = { path: `/machine/peripheral/${BALLOON_DEVICE}`, property: 'free-page-reporting' };
  return (await qmp.execute('qom-get', property, bounds)) === true;
}

/** What QEMU does not know of a nic is written at its link. */
function savedNic(taps: readonly NicSeen[], id: NicId, port: number | null): object {
  const link = taps.find(({ nicId }) => nicId === id);
  return { id, networkId: link?.networkId, ...link?.addresses, port };
}

/** The cards of the screens have names where there are several. */
async function displays(qmp: QmpExecutor, bounds: ExecuteOptions): Promise<number> {
  const devices = await qmp.execute('qom-list', { path: '/machine/peripheral' }, bounds);
  const names = new Set(devices.map(({ name }) => name));
  const more = Array.from({ length: displaysMost - 1 }, (_, i) => screenDevice(i + 1));
  return 1 + more.filter((name) => names.has(name)).length;
}

/** A machine has its screen, pointer and VNC server together, or none of them. A QEMU without VNC knows no such command. */
async function hasDisplay(qmp: QmpExecutor, bounds: ExecuteOptions): Promise<boolean> {
  try {
    return (await qmp.execute('query-vnc', undefined, bounds)).enabled;
  } catch (error) {
    if (error instanceof QmpError) return false;
    throw error;
  }
}
