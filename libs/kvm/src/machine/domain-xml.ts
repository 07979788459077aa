import { HOST_PASSTHROUGH, hugePageMiB, type HugePageSize, type WatchdogAction } from '@berth/model';
import {
  AGENT_PORT,
  bootOrder,
  nicDevice,
  PLUG_BLOCK_MIB,
  SCREEN_MIB,
  USB_SLOT,
  userAlias,
  VSOCK_SLOT,
  type MachineFirmware,
  type MachineNic,
  type MachineSpec,
  type MemoryPlug,
  watchdogHalts,
} from './machine-spec.js';
import { domainName, metadataElement } from './metadata.js';
import { cdromElements } from './cdrom-xml.js';
import { affinity, cells, memoryTuning, pins, plugNode, topology } from './numa-xml.js';
import { volumeElement } from './volume-xml.js';
import { renderXml, xml, type XmlElement } from './xml.js';

/** Period of the CPU quota, microseconds: the kernel's default. */
export const QUOTA_PERIOD = 100_000;

/** Far from where libvirt begins to give away slots. */
const WATCHDOG_SLOT = '0x18';

/** Devices with a slot of their own that every machine has: root disk, serial ports, random numbers, balloon. */
const ALWAYS_PORTS = 4;

/** What the guest and libvirt call the root disk. */
export const ROOT_DISK = 'vda';

/** The domain document libvirt is given. Pure. @throws XmlError when a string cannot be carried. */
export function domainXml(spec: MachineSpec): string {
  return renderXml(
    xml(
      'domain',
      { type: spec.accel === 'kvm' ? 'kvm' : 'qemu' },
      xml('name', {}, domainName(spec.hostTag, spec.instanceId)),
      xml('uuid', {}, spec.uuid),
      xml('title', {}, spec.title),
      xml('metadata', {}, metadataElement(spec)),
      memory(spec),
      spec.hugePages === null ? null : hugePages(spec.hugePages),
      vcpus(spec),
      cpuTune(spec),
      memoryTuning(spec),
      xml(
        'os',
        {},
        xml('type', { arch: 'x86_64', machine: spec.machineType }, 'hvm'),
        spec.firmware === null ? null : firmware(spec.firmware),
        xml('bios', { useserial: 'no', rebootTimeout: 0 }),
      ),
      xml('features', {}, xml('acpi'), xml('apic'), secureBoot(spec.firmware)),
      cpu(spec),
      xml('clock', { offset: 'utc' }),
      xml('on_poweroff', {}, 'destroy'),
      xml('on_reboot', {}, 'restart'),
      xml('on_crash', {}, 'preserve'),
      devices(spec),
    ),
  );
}

/** Stated to the last, so that libvirt chooses and makes nothing. */
function firmware({ code, variables, secureBoot: secure }: MachineFirmware): XmlElement[] {
  return [
    xml('loader', { readonly: 'yes', secure: secure ? 'yes' : 'no', type: 'pflash' }, code),
    xml('nvram', {}, variables),
  ];
}

/** Without system management mode the guest itself could write the firmware's keys. */
function secureBoot(spec: MachineFirmware | null): XmlElement | null {
  return spec?.secureBoot === true ? xml('smm', { state: 'on' }) : null;
}

/** All that there may be, and how many of them there are. */
function vcpus({ vcpus: boot, vcpuPlug: plug, numa }: MachineSpec): XmlElement {
  const cpuset = affinity(numa);
  const where = { placement: 'static', ...(cpuset === null ? {} : { cpuset }) };
  if (plug === null) return xml('vcpu', where, String(boot));
  return xml('vcpu', { ...where, current: boot + plug.plugged }, String(plug.most));
}

function cpuTune(spec: MachineSpec): XmlElement | null {
  const { cpuMillis } = spec;
  const quota = cpuMillis === null ? null : (cpuMillis * QUOTA_PERIOD) / 1000;
  const parts = [
    ...pins(spec),
    ...(quota === null
      ? []
      : [xml('global_period', {}, String(QUOTA_PERIOD)), xml('global_quota', {}, String(quota))]),
  ];
  return parts.length === 0 ? null : xml('cputune', {}, parts);
}

/** Under KVM the guest sees the host's processor; emulated, the model that starts and runs fastest here. */
function cpu(spec: MachineSpec): XmlElement {
  const { accel, cpuModel } = spec;
  const model = cpuModel ?? (accel === 'kvm' ? HOST_PASSTHROUGH : 'qemu64');
  if (model === HOST_PASSTHROUGH)
    return xml(
      'cpu',
      { mode: 'host-passthrough', check: 'none', migratable: 'on' },
      topology(spec),
      cells(spec),
    );
  if (model === 'max')
    return xml('cpu', { mode: 'maximum', check: 'none', migratable: 'on' }, topology(spec), cells(spec));
  return xml(
    'cpu',
    { mode: 'custom', match: 'exact', check: 'none' },
    xml('model', { fallback: 'forbid' }, model),
    topology(spec),
    cells(spec),
  );
}

/** What libvirt calls its memory is all that it might have; one that cannot grow has what it boots with. */
function memory({ memoryMiB, plug }: MachineSpec): XmlElement[] {
  const all = String(memoryMiB + (plug?.sizeMiB ?? 0));
  const total = xml('memory', { unit: 'MiB' }, all);
  return plug === null ? [total] : [xml('maxMemory', { slots: 1, unit: 'MiB' }, all), total];
}

/** As `hugePages` of the machine's arguments; without a mounted file system of them. */
function hugePages(size: HugePageSize): XmlElement {
  const page = xml('page', { size: hugePageMiB[size], unit: 'M' });
  return xml(
    'memoryBacking',
    {},
    xml('hugepages', {}, page),
    xml('source', { type: 'memfd' }),
    xml('access', { mode: 'shared' }),
    xml('allocation', { mode: 'immediate' }),
  );
}

function plugDevice({ sizeMiB, requestedMiB }: MemoryPlug): XmlElement {
  return xml(
    'memory',
    { model: 'virtio-mem' },
    xml(
      'target',
      {},
      xml('size', { unit: 'MiB' }, String(sizeMiB)),
      plugNode(),
      xml('block', { unit: 'MiB' }, String(PLUG_BLOCK_MIB)),
      xml('requested', { unit: 'MiB' }, String(requestedMiB)),
    ),
  );
}

function devices(spec: MachineSpec): XmlElement {
  return xml(
    'devices',
    {},
    xml('emulator', {}, '/usr/bin/qemu-system-x86_64'),
    spec.nicPorts === 0 ? null : ports(spec),
    rootDisk(spec),
    spec.seedPath === null ? null : seedDisk(spec.seedPath),
    spec.nics.map(nicElement),
    xml(
      'serial',
      { type: 'file' },
      xml('source', { path: spec.serialLog, append: 'on' }),
      xml('target', { type: 'isa-serial', port: 0 }),
    ),
    // libvirt itself is the one that speaks to the agent: it is asked to hand on commands.
    xml('channel', { type: 'unix' }, xml('target', { type: 'virtio', name: AGENT_PORT })),
    xml('rng', { model: 'virtio' }, xml('backend', { model: 'random' }, '/dev/urandom')),
    balloon(spec.freePageReporting),
    spec.display !== null && spec.usbTablet ? usbTablet() : xml('controller', { type: 'usb', model: 'none' }),
    spec.display === null ? xml('video', {}, xml('model', { type: 'none' })) : display(spec.display),
    spec.tpm === null ? null : tpm(spec.tpm.socket),
    spec.watchdog === null ? null : watchdog(spec.watchdog),
    spec.vsockCid === null ? null : vsock(spec.vsockCid),
    spec.scsi ? xml('controller', { type: 'scsi', index: 0, model: 'virtio-scsi' }) : null,
    spec.volumes.map(volumeElement),
    cdromElements(spec.cdroms),
    spec.plug === null ? null : plugDevice(spec.plug),
    // A guest that panics ends its run. It is preserved until that is written down: else libvirt could not tell it from
    // a QEMU that ended by itself.
    xml('panic', { model: 'isa' }),
  );
}

/**
 * libvirt makes as many slots as there are devices, and none to spare. So all are stated: one for each of these devices, as
 * libvirt gives them away, and beside them those for nics that come later.
 */
function ports({ nicPorts, seedPath, display: screen, scsi, plug }: MachineSpec): XmlElement[] {
  const others = [seedPath, screen, scsi || null, plug].filter((part) => part !== null).length;
  const count = nicPorts + ALWAYS_PORTS + others;
  return Array.from({ length: count }, (_, i) =>
    xml('controller', { type: 'pci', index: i + 1, model: 'pcie-root-port' }),
  );
}

function rootDisk({ disk, cdroms }: Pick<MachineSpec, 'disk' | 'cdroms'>): XmlElement {
  return xml(
    'disk',
    { type: 'file', device: 'disk' },
    xml('driver', {
      name: 'qemu',
      type: 'qcow2',
      cache: disk.cache,
      io: 'threads',
      discard: 'unmap',
      detect_zeroes: 'unmap',
      // A machine whose disk cannot be written stands still; it is let go on when it can.
      error_policy: 'stop',
      rerror_policy: 'report',
    }),
    xml('source', { file: disk.path }),
    xml(
      'backingStore',
      { type: 'file' },
      xml('format', { type: disk.base.format }),
      // The base is shared: it keeps its owner, so that no QEMU may ever write it.
      xml('source', { file: disk.base.path }, xml('seclabel', { model: 'dac', relabel: 'no' })),
      xml('backingStore'),
    ),
    xml('target', { dev: ROOT_DISK, bus: 'virtio' }),
    xml('boot', { order: bootOrder(cdroms).root }),
  );
}

/** As `display` of the machine's arguments. */
function display(socket: string): XmlElement[] {
  return [
    xml('graphics', { type: 'vnc', sharePolicy: 'ignore' }, xml('listen', { type: 'socket', socket })),
    xml('video', {}, xml('model', { type: 'vga', vram: SCREEN_MIB * 1024, heads: 1, primary: 'yes' })),
    xml('input', { type: 'tablet', bus: 'virtio' }),
  ];
}

/** A process of ours, as under the other driver: the state is where that finds it, too. */
function tpm(socket: string): XmlElement {
  const source = xml('source', { type: 'unix', mode: 'connect', path: socket });
  return xml('tpm', { model: 'tpm-crb' }, xml('backend', { type: 'external' }, source));
}

function balloon(freePageReporting: boolean): XmlElement {
  const reporting = freePageReporting ? { freePageReporting: 'on' } : {};
  return xml('memballoon', { model: 'virtio', autodeflate: 'on', ...reporting });
}

/** libvirt opens the kernel's device itself, as the account of QEMU may not. */
function vsock(cid: number): XmlElement {
  const address = { type: 'pci', domain: '0x0000', bus: '0x00', slot: VSOCK_SLOT, function: '0x0' };
  return xml('vsock', { model: 'virtio' }, xml('cid', { auto: 'no', address: cid }), xml('address', address));
}

/** As `usbTablet` of the machine's arguments. */
function usbTablet(): XmlElement[] {
  const address = { type: 'pci', domain: '0x0000', bus: '0x00', slot: USB_SLOT, function: '0x0' };
  return [
    xml('controller', { type: 'usb', index: 0, model: 'qemu-xhci', ports: 4 }, xml('address', address)),
    xml('input', { type: 'tablet', bus: 'usb' }),
  ];
}

/** On the root bus, where libvirt would not put an old PCI device by itself: it would make a bridge for it. */
function watchdog(action: WatchdogAction): XmlElement {
  const address = { type: 'pci', domain: '0x0000', bus: '0x00', slot: WATCHDOG_SLOT, function: '0x0' };
  return xml('watchdog', { model: 'i6300esb', action: watchdogHalts(action) }, xml('address', address));
}

function seedDisk(path: string): XmlElement {
  return xml(
    'disk',
    { type: 'file', device: 'disk' },
    xml('driver', { name: 'qemu', type: 'raw' }),
    xml('source', { file: path }),
    xml('target', { dev: 'vdb', bus: 'virtio' }),
    xml('readonly'),
  );
}

/** The same as a document of its own, for a domain that runs. @throws XmlError */
export const nicXml = (nic: MachineNic): string => renderXml(nicElement(nic));

function nicElement(spec: MachineNic): XmlElement {
  return xml(
    'interface',
    { type: 'ethernet' },
    xml('mac', { address: spec.mac }),
    xml('target', { dev: spec.tap, managed: 'no' }),
    xml('model', { type: 'virtio' }),
    // No option ROM: the root disk boots, and a network ROM costs start time.
    xml('rom', { enabled: 'no' }),
    xml('alias', { name: userAlias(nicDevice(spec.id)) }),
  );
}
