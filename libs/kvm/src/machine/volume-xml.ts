import { volumeSerial, type VolumeLimits } from '@berth/model';
import { userAlias, volumeDevice, type MachineVolume } from './machine-spec.js';
import { renderXml, xml, type XmlElement } from './xml.js';

const LETTERS = 26;

/** What libvirt calls the disk with this number, as kernels count: `sda`, … `sdz`, `sdaa`. */
export function scsiName(target: number): string {
  const last = String.fromCharCode(97 + (target % LETTERS));
  return target < LETTERS ? `sd${last}` : `${scsiName(Math.floor(target / LETTERS) - 1)}${last}`;
}

/** The disk of a data volume in a domain's document. */
export function volumeElement(volume: MachineVolume): XmlElement {
  return xml(
    'disk',
    { type: 'file', device: 'disk' },
    xml('driver', {
      name: 'qemu',
      type: volume.format,
      cache: volume.cache,
      io: 'threads',
      discard: 'unmap',
      detect_zeroes: 'unmap',
      error_policy: 'stop',
      rerror_policy: 'report',
    }),
    xml('source', { file: volume.path }),
    // It stands on nothing, and nobody shall look for what it might stand on.
    xml('backingStore'),
    xml('target', { dev: scsiName(volume.target), bus: 'scsi' }),
    ioTune(volume.limits),
    xml('serial', {}, volumeSerial(volume.volumeId)),
    volume.readOnly ? xml('readonly') : null,
    xml('alias', { name: userAlias(volumeDevice(volume.volumeId)) }),
    xml('address', { type: 'drive', controller: 0, bus: 0, target: volume.target, unit: 0 }),
  );
}

/** The same as a document of its own, for a domain that runs. @throws XmlError */
export const volumeXml = (volume: MachineVolume): string => renderXml(volumeElement(volume));

/** What libvirt calls each limit. */
export const tuneNames = {
  readBytesPerSecond: 'read_bytes_sec',
  writeBytesPerSecond: 'write_bytes_sec',
  readOperationsPerSecond: 'read_iops_sec',
  writeOperationsPerSecond: 'write_iops_sec',
} as const satisfies Record<keyof VolumeLimits, string>;

function ioTune(limits: VolumeLimits): XmlElement | null {
  const set = Object.entries(limits).filter(([, value]) => value !== undefined);
  if (set.length === 0) return null;
  return xml(
    'iotune',
    {},
    set.map(([name, value]) => xml(tuneNames[name as keyof VolumeLimits], {}, String(value))),
  );
}
