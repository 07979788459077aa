import { plugSizeMiB } from '@berth/model';
import type {
  CdromBus,
  DiskFormat,
  HugePageSize,
  InstanceId,
  NicId,
  VolumeId,
  VolumeLimits,
  WatchdogAction,
} from '@berth/model';

/** The card of every screen but the first: the standard one without what PCs of old had, of which a machine has only one. */
export const SCREEN_CARD = 'bochs-display';

/** What QEMU calls the graphics card of a screen, where there are several. */
export const screenDevice = (head: number): string => `screen${head}`;

/** Slots on the root bus of a further screen's card and its tablet, where nothing comes by itself: as {@link USB_SLOT}. */
export const screenSlots = (head: number): { readonly card: string; readonly tablet: string } => ({
  card: `0x${(0x13 + head).toString(16)}`,
  tablet: `0x${(0x18 + head).toString(16)}`,
});

/** Memory of a screen, MiB: enough for 2560 by 1600 pixels. */
export const SCREEN_MIB = 16;

/** A virtual machine as data: everything its renderings need, and nothing about who renders. */
export interface MachineSpec {
  readonly instanceId: InstanceId;
  readonly epoch: number;
  /** Name of the instance, for people. */
  readonly title: string;
  readonly hostTag: string;
  /** SMBIOS UUID, for life. */
  readonly uuid: string;
  readonly accel: 'kvm' | 'tcg';
  /** QEMU's name of the machine: `q35`, or with the version that a saved memory came from. */
  readonly machineType: string;
  /** What processor the guest sees: `host-passthrough`, `max` or a name of QEMU's; null for what suits the acceleration. */
  readonly cpuModel: string | null;
  /** What its guest boots with. */
  readonly vcpus: number;
  /** Virtual processors that it can be given beside while it runs; null for a machine that keeps those it boots with. */
  readonly vcpuPlug: VcpuPlug | null;
  /** Cap of all vCPUs and the emulator together, in thousandths of a processor; null for none. */
  readonly cpuMillis: number | null;
  /** What its guest boots with. */
  readonly memoryMiB: number;
  /** What its memory is in, all of it from the start on; null for ordinary pages. */
  readonly hugePages: HugePageSize | null;
  /** How its memory and processors are divided, and where they are. */
  readonly numa: MachineNuma;
  /** UEFI firmware; null for a BIOS. */
  readonly firmware: MachineFirmware | null;
  /** A TPM 2.0; null for a machine without one. */
  readonly tpm: MachineTpm | null;
  /** Memory that its guest can be given beside while it runs; null for a machine that keeps what it boots with. */
  readonly plug: MemoryPlug | null;
  readonly disk: MachineDisk;
  /** Whether it has a SCSI controller, on which volumes are plugged in also while it runs. */
  readonly scsi: boolean;
  readonly volumes: readonly MachineVolume[];
  readonly cdroms: readonly MachineCdrom[];
  /** ISO image for cloud-init, read-only. */
  readonly seedPath: string | null;
  readonly nics: readonly MachineNic[];
  /** How many slots for nics it has, into which they are plugged also while it runs; then each nic is in one. None where it is 0. */
  readonly nicPorts: number;
  /** Unix socket on which QEMU serves its screen, keyboard and pointer by VNC; null for a machine without them. */
  readonly display: string | null;
  /** The same of each further screen, each with a graphics card and tablets of its own; none without `display`. */
  readonly moreDisplays: readonly string[];
  /** Whether a machine with a display has a USB controller with a tablet, beside the tablet of virtio. */
  readonly usbTablet: boolean;
  /** Context id of its vsock device; null for a machine without one. */
  readonly vsockCid: number | null;
  /** Whether its balloon tells of pages that the guest has no use for, which its host then has back. */
  readonly freePageReporting: boolean;
  /** What becomes of a machine whose guest lets its watchdog expire; null for one without a watchdog. */
  readonly watchdog: WatchdogAction | null;
  /** File that gets every byte the guest writes to its first serial port, or, of a direct machine, to its log port. */
  readonly serialLog: string;
  /** Set for a machine without firmware's search for a disk: a kernel that QEMU loads itself, and ports instead of a serial line. */
  readonly direct?: DirectBoot;
}

/** What a machine needs that boots our kernel, whose first process is ours: see libs/kvm/guest-init. */
export interface DirectBoot {
  readonly kernel: string;
  readonly initrd: string;
  /** Read-only root file system, a raw image. */
  readonly root: string;
  /** What its first process is told, a raw image. */
  readonly config: string;
}

export interface MachineFirmware {
  /** Shared by all machines, read-only. */
  readonly code: string;
  /** The machine's own, which its guest writes; raw, as the code is. */
  readonly variables: string;
  /** Variables are written by the firmware alone (system management mode), so that a guest cannot enrol keys of its own. */
  readonly secureBoot: boolean;
}

export interface MachineTpm {
  /** Unix socket on which its process listens. */
  readonly socket: string;
  /** Directory with what it keeps; it need not be there yet. */
  readonly state: string;
}

/** What QEMU calls the device; libvirt calls its first one so by itself. */
export const TPM_DEVICE = 'tpm0';

/** What QEMU calls the memory that a machine boots with, where it is told; libvirt calls it so always. */
export const MEMORY_BACKEND = 'pc.ram';

/** What QEMU calls the balloon; libvirt calls it so by itself. */
export const BALLOON_DEVICE = 'balloon0';

/** What QEMU calls the USB controller; libvirt calls its first one so by itself. */
export const USB_CONTROLLER = 'usb';

/** Its slot on the root bus under both drivers, where nothing comes by itself: so no other device's place depends on it. */
export const USB_SLOT = '0x17';

/** Nodes of a machine, each with an equal part of its memory, and of its processors in a socket of its own. */
export interface MachineNuma {
  readonly nodes: number;
  /** The node of its host that each is bound to, in their order; null for one that may be anywhere. */
  readonly hosts: readonly HostNode[] | null;
}

/** A node of the host, by its number, and its processors. */
export interface HostNode {
  readonly id: number;
  readonly cpus: readonly number[];
}

/** One node that may be anywhere. */
export const undivided: MachineNuma = { nodes: 1, hosts: null };

/** What QEMU calls the memory of a node of several; libvirt calls it so always. */
export const nodeMemory = (node: number): string => `ram-node${node}`;

/** The node of memory that can be plugged: of a machine that can get some, there is one. */
export const PLUG_NODE = 0;

/** QEMU's device, whose other side is the kernel: it has the context ids of all guests of its host. */
export const VSOCK_DEVICE_TYPE = 'vhost-vsock-pci';

/** What QEMU calls the vsock device; libvirt calls it so by itself. */
export const VSOCK_DEVICE = 'vsock0';

/** Its slot on the root bus, as {@link USB_SLOT}. */
export const VSOCK_SLOT = '0x1c';

/** A virtio-mem device: a range of addresses, of which its guest uses as much as it is asked to (virtio 1.2, 5.15). */
export interface MemoryPlug {
  /** The whole range, in steps of what Linux adds at once. */
  readonly sizeMiB: number;
  /** What the guest is asked to use of it. */
  readonly requestedMiB: number;
}

/** What a guest can be given and asked back for: blocks of this size. */
export const PLUG_BLOCK_MIB = 2;

/** The device by which a machine grows from what it boots with. */
export function memoryPlug(bootMiB: number, nowMiB: number, maxMiB: number): MemoryPlug | null {
  if (maxMiB <= bootMiB) return null;
  return { sizeMiB: plugSizeMiB(bootMiB, maxMiB), requestedMiB: plugRequest(bootMiB, nowMiB) };
}

/** What a guest is asked to use beside what it booted with, for it to have so much: not more, and less than a block less. */
export const plugRequest = (bootMiB: number, nowMiB: number): number =>
  Math.max(0, Math.floor((nowMiB - bootMiB) / PLUG_BLOCK_MIB) * PLUG_BLOCK_MIB);

/** Places for virtual processors beyond those that a machine boots with. They are taken from the lowest on and left from the highest. */
export interface VcpuPlug {
  /** With those that it boots with. */
  readonly most: number;
  /** How many are plugged in beside them: none of a machine that boots. */
  readonly plugged: number;
}

/** The virtual processors that a machine may ever have. */
export const mostVcpus = ({ vcpus, vcpuPlug }: Pick<MachineSpec, 'vcpus' | 'vcpuPlug'>): number =>
  vcpuPlug?.most ?? vcpus;

/** What QEMU and libvirt call a virtual processor that was plugged in, by its place. */
export const vcpuDevice = (place: number): string => `vcpu${place}`;

/** What QEMU calls the device. libvirt chooses another name. */
export const PLUG_DEVICE = 'plug';

export interface MachineDisk {
  /** Writable qcow2 overlay. */
  readonly path: string;
  /** What the overlay is based on; its format is stated, never probed. */
  readonly base: { readonly path: string; readonly format: 'qcow2' | 'raw' };
  /** `none` bypasses the host's page cache; `writeback` where the file system has no O_DIRECT. Flushes are kept in both. */
  readonly cache: 'none' | 'writeback';
}

/** A data volume on the SCSI controller, where disks come and go without their guest's consent. */
export interface MachineVolume {
  readonly volumeId: VolumeId;
  readonly path: string;
  readonly format: DiskFormat;
  readonly readOnly: boolean;
  readonly cache: MachineDisk['cache'];
  readonly limits: VolumeLimits;
  /** Its number on the controller, the same for as long as it is plugged in. */
  readonly target: number;
}

/** What QEMU calls the controller; libvirt calls its first one so by itself. */
export const SCSI_CONTROLLER = 'scsi0';

/** Numbers of the controller that are for volumes; those above are for CD-ROM drives. */
export const SCSI_TARGETS = 252;

/** A CD-ROM drive, which a machine has from its start on. Its place in the list is its number. */
export interface MachineCdrom {
  readonly bus: CdromBus;
  /** Firmware looks at it before the root disk. */
  readonly bootFirst: boolean;
  /** File that lies in it, read as it is; null when it is empty. */
  readonly medium: string | null;
}

/** What QEMU calls a drive; libvirt, {@link userAlias}. */
export const cdromDevice = (drive: number): string => `cd${drive}`;

/** The number of a drive on the SCSI controller. */
export const cdromTarget = (drive: number): number => SCSI_TARGETS + drive;

/** When firmware looks at each, from 1 on: at drives that come first, at the root disk, at the other drives. */
export function bootOrder(cdroms: readonly Pick<MachineCdrom, 'bootFirst'>[]): {
  readonly root: number;
  readonly cdroms: readonly number[];
} {
  const root = cdroms.filter(({ bootFirst }) => bootFirst).length + 1;
  let [early, late] = [1, root + 1];
  return { root, cdroms: cdroms.map(({ bootFirst }) => (bootFirst ? early++ : late++)) };
}

/** What libvirt calls a device that we gave this name: such an alias is its user's. */
export const userAlias = (device: string): string => `ua-${device}`;

/** What QEMU calls a volume's device; libvirt, {@link userAlias}. */
export const volumeDevice = (volumeId: VolumeId): string => `vol-${volumeId}`;

/** As many nics as an instance can have. */
const NICS_MAX = 8;
/** Slots of a machine that starts with one nic, as most do, and those that one with more has to spare. */
const LEAST_PORTS = 4;
const SPARE_PORTS = 2;

/** Slots for nics of a machine that starts with so many. Each is a PCI Express port, which firmware and guest look at when they boot (ADR 37). */
export const nicPortsFor = (nics: number): number =>
  Math.min(NICS_MAX, Math.max(LEAST_PORTS, nics + SPARE_PORTS));

/** What QEMU calls a nic's device; libvirt, {@link userAlias}. */
export const nicDevice = (nicId: NicId): string => `nic-${nicId}`;

export interface MachineNic {
  readonly id: NicId;
  readonly mac: string;
  /** Tap that exists already and that libvirt must not create, configure or delete. */
  readonly tap: string;
  /** Number of its slot, the same for as long as it is plugged in; null where it is in none that can be told. */
  readonly port: number | null;
}

/**
 * What QEMU does when a watchdog expires. One that turns its machine off pauses it, and its driver takes it for off:
 * QEMU itself would just end, which looks like a crash when nobody watches.
 */
export function watchdogHalts(action: WatchdogAction): Exclude<WatchdogAction, 'poweroff'> {
  return action === 'poweroff' ? 'pause' : action;
}

/** The port in the guest where its agent listens: the name that agents look for. */
export const AGENT_PORT = 'org.qemu.guest_agent.0';
