import { HOST_PASSTHROUGH, hugePageMiB } from '@berth/model';
import {
  AGENT_PORT,
  BALLOON_DEVICE,
  bootOrder,
  MEMORY_BACKEND,
  nodeMemory,
  PLUG_BLOCK_MIB,
  PLUG_DEVICE,
  PLUG_NODE,
  SCREEN_CARD,
  SCREEN_MIB,
  screenDevice,
  screenSlots,
  SCSI_CONTROLLER,
  TPM_DEVICE,
  USB_CONTROLLER,
  USB_SLOT,
  vcpuDevice,
  VSOCK_DEVICE,
  VSOCK_DEVICE_TYPE,
  VSOCK_SLOT,
  watchdogHalts,
  type MachineFirmware,
  type MachineSpec,
  type MemoryPlug,
} from '../machine/machine-spec.js';
import { directArguments } from './direct-arguments.js';
import {
  fileNode,
  qmpChardev,
  rootNodes,
  beginning,
  SERIAL_CHARDEV,
  AGENT_CHARDEV,
  ROOT_NODE,
  type ProcessPlaces,
} from './machine-parts.js';
import { option } from './options.js';
import { boundTo, numaArguments } from './numa-arguments.js';
import { nicArguments, nicPortArguments } from './nic-devices.js';
import { cdromArguments } from './cdrom-devices.js';
import { volumeArguments } from './volume-devices.js';

/**
 * QEMU's arguments (qemu(1), 7.2). Pure. The machine begins frozen (`-S`). A guest that turns itself off or panics
 * stays as a frozen process, which tells of it also when nobody watched; so a process that is gone without our doing
 * was killed or crashed. @throws OptionError when a string cannot be carried.
 */
export function machineArguments(spec: MachineSpec, places: ProcessPlaces): string[] {
  if (spec.direct !== undefined) return directArguments(spec, spec.direct, places);
  return [
    ...beginning(spec),
    ...option('-action', null, {
      reboot: 'reset',
      shutdown: 'pause',
      panic: 'pause',
      ...(spec.watchdog === null ? {} : { watchdog: watchdogHalts(spec.watchdog) }),
    }),
    ...option('-machine', null, {
      type: spec.machineType,
      accel: spec.accel,
      usb: false,
      vmport: false,
      'dump-guest-core': false,
      'memory-backend': hasOneBackend(spec) ? MEMORY_BACKEND : null,
      ...flashProperties(spec.firmware),
    }),
    ...option('-cpu', cpu(spec)),
    ...processors(spec),
    ...memory(spec),
    ...['-uuid', spec.uuid],
    ...option('-rtc', null, { base: 'utc' }),
    ...['-display', 'none'],
    ...(spec.display === null ? [] : displays(spec.display, spec.moreDisplays)),
    ...(spec.display === null || !spec.usbTablet ? [] : usbTablets(spec.moreDisplays.length)),
    ...option('-boot', null, { 'reboot-timeout': 0 }),
    '-chardev',
    qmpChardev(places.qmpSocket),
    ...option('-mon', null, { chardev: 'qmp', mode: 'control' }),
    ...firmware(spec.firmware),
    ...rootDisk(spec),
    ...seedDisk(spec.seedPath),
    ...nicPortArguments(spec.nicPorts),
    ...spec.nics.flatMap((nic, i) => nicArguments(nic, i, places.tapDescriptors[i])),
    ...serial(spec.serialLog),
    ...agent(places.agentSocket),
    ...option('-object', 'rng-random', { id: 'entropy', filename: '/dev/urandom' }),
    ...option('-device', 'virtio-rng-pci', { rng: 'entropy' }),
    ...balloon(spec.freePageReporting),
    ...option('-device', 'pvpanic'),
    ...(spec.watchdog === null ? [] : option('-device', 'i6300esb')),
    ...(spec.tpm === null ? [] : tpm(spec.tpm.socket)),
    ...(spec.vsockCid === null ? [] : vsock(spec.vsockCid, places.vsockDescriptor)),
    // Last, so that no other device's place depends on it.
    ...(spec.scsi ? option('-device', 'virtio-scsi-pci', { id: SCSI_CONTROLLER }) : []),
    ...(spec.plug === null ? [] : plugDevice(spec.plug)),
    ...spec.volumes.flatMap(volumeArguments),
    ...cdromArguments(spec.cdroms),
    ...(places.memoryDescriptor === null ? [] : ['-incoming', `fd:${places.memoryDescriptor}`]),
  ];
}

/** Under KVM the guest sees the host's processor; emulated, the model that starts and runs fastest here. */
function cpu({ cpuModel, accel }: MachineSpec): string {
  if (cpuModel === HOST_PASSTHROUGH) return 'host';
  return cpuModel ?? (accel === 'kvm' ? 'host' : 'qemu64');
}

/** QEMU's type of one processor of a machine. */
const vcpuType = (spec: MachineSpec): string => `${cpu(spec)}-x86_64-cpu`;

/** Those that were plugged in are stated one by one, as their guest knows them. */
function processors(spec: MachineSpec): string[] {
  const { vcpus, vcpuPlug: plug } = spec;
  const { nodes } = spec.numa;
  if (nodes > 1)
    return option('-smp', null, { cpus: vcpus, sockets: nodes, cores: vcpus / nodes, threads: 1 });
  if (plug === null) return option('-smp', null, { cpus: vcpus });
  return [
    ...option('-smp', null, { cpus: vcpus, maxcpus: plug.most, sockets: 1, cores: plug.most, threads: 1 }),
    ...Array.from({ length: plug.plugged }, (_, i) => vcpus + i).flatMap((place) =>
      option('-device', vcpuType(spec), {
        ...{ id: vcpuDevice(place), 'socket-id': 0, 'core-id': place, 'thread-id': 0 },
      }),
    ),
  ];
}

/** What stands behind the memory that can be plugged. */
const PLUG_MEMORY = 'plug-memory';

function memory(spec: MachineSpec): string[] {
  const { memoryMiB, plug, numa } = spec;
  const nodes = Array.from({ length: numa.nodes }, (_, node) => node);
  return [
    ...option('-m', null, {
      size: `${memoryMiB}M`,
      maxmem: plug === null ? null : `${memoryMiB + plug.sizeMiB}M`,
    }),
    ...(numa.nodes > 1
      ? nodes.flatMap((node) => backend(spec, nodeMemory(node), node, memoryMiB / numa.nodes))
      : []),
    ...(hasOneBackend(spec) ? backend(spec, MEMORY_BACKEND, 0, memoryMiB) : []),
    ...numaArguments(spec),
    ...(plug === null
      ? []
      : // What no guest uses takes nothing of the host.
        option('-object', 'memory-backend-ram', {
          id: PLUG_MEMORY,
          size: `${plug.sizeMiB}M`,
          reserve: false,
          ...boundTo(numa, PLUG_NODE),
        })),
  ];
}

/** Whether what it boots with is told as a whole. */
const hasOneBackend = ({ numa, hugePages }: MachineSpec): boolean =>
  numa.nodes === 1 && (numa.hosts !== null || hugePages !== null);

/**
 * Memory of a node. No file system of huge pages need be mounted, nor any of its files be QEMU's. They are taken before the guest runs: later
 * it would be killed for one that is not there.
 */
function backend({ numa, hugePages }: MachineSpec, id: string, node: number, sizeMiB: number): string[] {
  const is = { id, size: `${sizeMiB}M` };
  const where = boundTo(numa, node);
  if (hugePages === null) return option('-object', 'memory-backend-ram', { ...is, ...where });
  const pages = { hugetlb: true, hugetlbsize: `${hugePageMiB[hugePages]}M`, share: true, prealloc: true };
  return option('-object', 'memory-backend-memfd', { ...is, ...pages, ...where });
}

function plugDevice({ requestedMiB }: MemoryPlug): string[] {
  return option('-device', 'virtio-mem-pci', {
    id: PLUG_DEVICE,
    memdev: PLUG_MEMORY,
    'requested-size': `${requestedMiB}M`,
    'block-size': `${PLUG_BLOCK_MIB}M`,
  });
}

/** Least that is said of both speeds; libvirt sets them alike. */
const USB_PORTS = 4;

/** Nodes of the two flash chips. */
const FLASH_NODES = { code: 'firmware', variables: 'variables' } as const;

function flashProperties(firmware: MachineFirmware | null): Record<string, string | boolean> {
  if (firmware === null) return {};
  const flash = { pflash0: FLASH_NODES.code, pflash1: FLASH_NODES.variables };
  return firmware.secureBoot ? { ...flash, smm: true } : flash;
}

/** Code and variables as two flash chips, of which only the second can be written. */
function firmware(spec: MachineFirmware | null): string[] {
  if (spec === null) return [];
  const { code, variables } = FLASH_NODES;
  return [
    ...fileNode(`${code}-file`, spec.code, { 'read-only': true }),
    ...option('-blockdev', 'raw', { 'node-name': code, file: `${code}-file`, 'read-only': true }),
    ...fileNode(`${variables}-file`, spec.variables, {}),
    ...option('-blockdev', 'raw', { 'node-name': variables, file: `${variables}-file` }),
    ...(spec.secureBoot
      ? option('-global', null, { driver: 'cfi.pflash01', property: 'secure', value: true })
      : []),
  ];
}

function rootDisk(spec: MachineSpec): string[] {
  return [
    ...rootNodes(spec),
    ...option('-device', 'virtio-blk-pci', {
      drive: ROOT_NODE,
      bootindex: bootOrder(spec.cdroms).root,
      'write-cache': 'on',
      werror: 'stop',
      rerror: 'report',
    }),
  ];
}

function seedDisk(path: string | null): string[] {
  if (path === null) return [];
  return [
    ...fileNode('seed-file', path, { 'read-only': true }),
    ...option('-blockdev', 'raw', { 'node-name': 'seed', file: 'seed-file', 'read-only': true }),
    ...option('-device', 'virtio-blk-pci', { drive: 'seed' }),
  ];
}

/**
 * One server for each screen, which shows no other; without a name of its screen a server shows the one that was last chosen by keys of a
 * viewer. What a viewer of a further screen does with the pointer goes to the tablets of that screen.
 */
function displays(first: string, more: readonly string[]): string[] {
  if (more.length === 0) return display(first);
  const server = (head: number, socket: string): string[] =>
    option('-vnc', null, {
      vnc: `unix:${socket}`,
      ...(head === 0 ? {} : { id: `vnc${head}` }),
      display: screenDevice(head),
      share: 'ignore',
    });
  return [
    ...server(0, first),
    ...option('-device', 'VGA', { id: screenDevice(0), vgamem_mb: SCREEN_MIB }),
    ...option('-device', 'virtio-tablet-pci'),
    ...more.flatMap((socket, i) => {
      const id = screenDevice(i + 1);
      const { card, tablet } = screenSlots(i + 1);
      return [
        ...server(i + 1, socket),
        ...option('-device', SCREEN_CARD, { id, addr: card, vgamem: `${SCREEN_MIB}M` }),
        ...option('-device', 'virtio-tablet-pci', { addr: tablet, display: id }),
      ];
    }),
  ];
}

/**
 * A screen that BIOS, boot loaders and kernels know without a driver, a pointer that is where the viewer's is, and the
 * keyboard of every PC. Every viewer is let in, and none can throw out another.
 */
function display(socket: string): string[] {
  return [
    ...option('-vnc', null, { vnc: `unix:${socket}`, share: 'ignore' }),
    ...option('-device', 'VGA', { vgamem_mb: SCREEN_MIB }),
    ...option('-device', 'virtio-tablet-pci'),
  ];
}

/**
 * For guests that know no tablet of virtio: Windows without its drivers, installers, most firmware. QEMU gives what the pointer does to
 * the one that its guest began to use last, so that both together are one pointer.
 */
function usbTablets(moreDisplays: number): string[] {
  const ports = { p2: USB_PORTS, p3: USB_PORTS };
  const bus = `${USB_CONTROLLER}.0`;
  return [
    ...option('-device', 'qemu-xhci', { id: USB_CONTROLLER, addr: USB_SLOT, ...ports }),
    ...option('-device', 'usb-tablet', { bus }),
    ...Array.from({ length: moreDisplays }, (_, i) =>
      option('-device', 'usb-tablet', { bus, display: screenDevice(i + 1) }),
    ).flat(),
  ];
}

/** Without a property that is off, so that machines of before have what they had. */
function balloon(freePageReporting: boolean): string[] {
  return option('-device', 'virtio-balloon-pci', {
    id: BALLOON_DEVICE,
    'deflate-on-oom': true,
    'free-page-reporting': freePageReporting ? true : null,
  });
}

function serial(path: string): string[] {
  return [
    ...option('-chardev', 'file', { id: SERIAL_CHARDEV, path, append: true }),
    ...option('-device', 'isa-serial', { chardev: SERIAL_CHARDEV }),
  ];
}

function tpm(socket: string): string[] {
  return [
    ...option('-chardev', 'socket', { id: 'tpm', path: socket }),
    ...option('-tpmdev', 'emulator', { id: 'tpm', chardev: 'tpm' }),
    ...option('-device', 'tpm-crb', { id: TPM_DEVICE, tpmdev: 'tpm' }),
  ];
}

/** The kernel's device is opened for it: its account may not. */
function vsock(cid: number, descriptor: number | null): string[] {
  if (descriptor === null) throw new Error('no descriptor of a vsock device');
  return option('-device', VSOCK_DEVICE_TYPE, {
    id: VSOCK_DEVICE,
    addr: VSOCK_SLOT,
    'guest-cid': cid,
    vhostfd: descriptor,
  });
}

function agent(socket: string): string[] {
  return [
    ...option('-chardev', 'socket', { id: AGENT_CHARDEV, path: socket, server: true, wait: false }),
    ...option('-device', 'virtio-serial-pci'),
    // QEMU tells of ports that have an id when their guest opens them, and is silent about others.
    ...option('-device', 'virtserialport', { id: 'agent', chardev: AGENT_CHARDEV, name: AGENT_PORT }),
  ];
}
