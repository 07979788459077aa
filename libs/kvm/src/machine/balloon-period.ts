import type { DomainDocument } from './metadata.js';

/** Whether a domain has a balloon that nobody told yet how often to ask its guest, by the XML of the running domain. */
export function wantsPeriod(document: DomainDocument): boolean {
  const balloon = document.getElementsByTagName('memballoon').item(0);
  if (balloon?.getAttribute('model') !== 'virtio') return false;
  return balloon.getElementsByTagName('stats').length === 0;
}
