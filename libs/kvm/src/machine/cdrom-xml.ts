import { XMLSerializer } from '@xmldom/xmldom';
import { bootOrder, cdromDevice, cdromTarget, userAlias, type MachineCdrom } from './machine-spec.js';
import { parsed } from './metadata.js';
import { scsiName } from './volume-xml.js';
import { xml, type XmlElement } from './xml.js';

/** The drives of a machine in a domain's document. */
export function cdromElements(cdroms: readonly MachineCdrom[]): XmlElement[] {
  const order = bootOrder(cdroms).cdroms;
  return cdroms.map(({ bus, medium }, drive) =>
    xml(
      'disk',
      { type: 'file', device: 'cdrom' },
      // Never what it says of itself.
      xml('driver', { name: 'qemu', type: 'raw' }),
      medium === null
        ? null
        : // It is shared: it keeps its owner, so that no QEMU may ever write it.
          xml('source', { file: medium }, xml('seclabel', { model: 'dac', relabel: 'no' })),
      xml('target', { dev: scsiName(cdromTarget(drive)), bus }),
      xml('readonly'),
      xml('boot', { order: order[drive] ?? 0 }),
      xml('alias', { name: userAlias(cdromDevice(drive)) }),
      bus === 'scsi'
        ? xml('address', { type: 'drive', controller: 0, bus: 0, target: cdromTarget(drive), unit: 0 })
        : xml('address', { type: 'drive', controller: 0, bus: 0, target: 0, unit: drive }),
    ),
  );
}

/** The element of a drive of a domain that runs, with another medium or none, as text; null when the domain has no such drive. */
export function mediumDocument(domainXml: string, drive: number, medium: string | null): string | null {
  const document = parsed(domainXml);
  for (const disk of document.getElementsByTagName('disk')) {
    const alias = disk.getElementsByTagName('alias').item(0)?.getAttribute('name');
    if (alias !== userAlias(cdromDevice(drive))) continue;
    for (const child of [...disk.childNodes])
      if (['source', 'backingStore'].includes(child.nodeName)) disk.removeChild(child);
    disk.getElementsByTagName('target').item(0)?.removeAttribute('tray');
    if (medium !== null) {
      const [source, label] = [document.createElement('source'), document.createElement('seclabel')];
      source.setAttribute('file', medium);
      label.setAttribute('model', 'dac');
      label.setAttribute('relabel', 'no');
      source.appendChild(label);
      disk.appendChild(source);
    }
    return new XMLSerializer().serializeToString(disk);
  }
  return null;
}
