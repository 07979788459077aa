import { VolumeId } from '@berth/model';
import { ROOT_DISK } from './domain-xml.js';
import { userAlias, volumeDevice } from './machine-spec.js';
import type { DomainDocument } from './metadata.js';

const ALIAS = new RegExp(`^${userAlias(volumeDevice('(.+)' as VolumeId))}$`);

/**
 * Which volume of its user's stands behind each of libvirt's names of disks, by the XML of the running domain; null for the
 * root disk. Other disks are not in it.
 */
export function diskRoles(document: DomainDocument): Map<string, VolumeId | null> {
  const roles = new Map<string, VolumeId | null>();
  for (const disk of document.getElementsByTagName('disk')) {
    const name = disk.getElementsByTagName('target').item(0)?.getAttribute('dev');
    if (name === null || name === undefined) continue;
    const alias = disk.getElementsByTagName('alias').item(0)?.getAttribute('name') ?? '';
    const volume = VolumeId.safeParse(ALIAS.exec(alias)?.[1]);
    if (name === ROOT_DISK) roles.set(name, null);
    else if (volume.success) roles.set(name, volume.data);
  }
  return roles;
}
