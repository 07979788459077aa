import type { DirectBoot, MachineSpec } from '../machine/machine-spec.js';
import {
  fileNode,
  qmpChardev,
  ROOT_NODE,
  rootNodes,
  beginning,
  SERIAL_CHARDEV,
  type ProcessPlaces,
} from './machine-parts.js';
import { nicArguments } from './nic-devices.js';
import { option } from './options.js';

/**
 * Constant: what users wrote comes by the configuration disk. A kernel that panics is told of by pvpanic, and waits then. The
 * machine has no port on which the kernel could speak; nobody would read it. What it would try on its own ciphers at every boot
 * Debian's builders have tried: 0.7 s of processor time in an emulated boot.
 */
const KERNEL_LINE = 'quiet loglevel=3 panic=0 rdinit=/init cryptomgr.notests';

/** Serial numbers of disks and names of ports, as libs/kvm/guest-init looks for them. */
export const DIRECT_PORTS = { log: 'berth.log', exit: 'berth.exit', host: 'berth.host' } as const;

/**
 * QEMU's arguments for a machine that boots our kernel: virtio devices and nothing else that a guest could use. Its log and
 * the word on its end go to files, so that nobody need listen. Pure. @throws OptionError
 */
export function directArguments(spec: MachineSpec, boot: DirectBoot, places: ProcessPlaces): string[] {
  return [
    ...beginning(spec),
    // There is nothing in it that should boot twice: a reboot is an end.
    ...option('-action', null, { reboot: 'shutdown', shutdown: 'pause', panic: 'pause' }),
    ...option('-machine', null, {
      type: spec.machineType,
      accel: spec.accel,
      usb: false,
      vmport: false,
      sata: false,
      smbus: false,
      'dump-guest-core': false,
    }),
    ...option('-cpu', spec.accel === 'kvm' ? 'host' : 'qemu64'),
    ...option('-smp', null, { cpus: spec.vcpus }),
    ...option('-m', null, { size: `${spec.memoryMiB}M` }),
    ...['-uuid', spec.uuid],
    ...option('-rtc', null, { base: 'utc' }),
    ...['-display', 'none'],
    ...['-kernel', boot.kernel, '-initrd', boot.initrd, '-append', KERNEL_LINE],
    '-chardev',
    qmpChardev(places.qmpSocket),
    ...option('-mon', null, { chardev: 'qmp', mode: 'control' }),
    ...readOnlyDisk('lower', boot.root, 'berth-root'),
    ...readOnlyDisk('config', boot.config, 'berth-config'),
    ...rootNodes(spec),
    ...option('-device', 'virtio-blk-pci', {
      drive: ROOT_NODE,
      serial: 'berth-data',
      'write-cache': 'on',
      werror: 'stop',
      rerror: 'report',
    }),
    ...spec.nics.flatMap((nic, i) => nicArguments(nic, i, places.tapDescriptors[i])),
    ...option('-device', 'virtio-serial-pci', { max_ports: 4 }),
    ...option('-chardev', 'file', { id: SERIAL_CHARDEV, path: spec.serialLog, append: true }),
    ...option('-device', 'virtserialport', { chardev: SERIAL_CHARDEV, name: DIRECT_PORTS.log }),
    ...option('-chardev', 'file', { id: 'exit0', path: places.exitFile }),
    ...option('-device', 'virtserialport', { chardev: 'exit0', name: DIRECT_PORTS.exit }),
    ...option('-chardev', 'socket', { id: 'host0', path: places.agentSocket, server: true, wait: false }),
    ...option('-device', 'virtserialport', { chardev: 'host0', name: DIRECT_PORTS.host }),
    ...option('-object', 'rng-random', { id: 'entropy', filename: '/dev/urandom' }),
    ...option('-device', 'virtio-rng-pci', { rng: 'entropy' }),
    ...option('-device', 'pvpanic-pci'),
  ];
}

function readOnlyDisk(node: string, path: string, serial: string): string[] {
  return [
    ...fileNode(`${node}-file`, path, { 'read-only': true }),
    ...option('-blockdev', 'raw', { 'node-name': node, file: `${node}-file`, 'read-only': true }),
    ...option('-device', 'virtio-blk-pci', { drive: node, serial }),
  ];
}
