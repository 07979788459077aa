import { DOMParser, XMLSerializer } from '@xmldom/xmldom';
import { InstanceId } from '@berth/model';
import { createHash } from 'node:crypto';
import { AGENT_PORT } from './machine-spec.js';
import { xml, type XmlElement } from './xml.js';

/** Namespace of our element in a domain's metadata. Domains without it are not ours and are never touched. */
export const METADATA_NAMESPACE = 'urn:berth:instance:1';
const PREFIX = 'berth';

export interface DomainMetadata {
  readonly hostTag: string;
  readonly instanceId: InstanceId;
  readonly epoch: number;
  /** A machine that its watchdog paused is off. */
  readonly watchdogOff: boolean;
}

export function metadataElement(
  metadata: Omit<DomainMetadata, 'watchdogOff'> & { readonly watchdog?: string | null },
): XmlElement {
  return xml(`${PREFIX}:placement`, {
    [`xmlns:${PREFIX}`]: METADATA_NAMESPACE,
    host: metadata.hostTag,
    instance: metadata.instanceId,
    epoch: metadata.epoch,
    ...(metadata.watchdog === 'poweroff' ? { watchdog: 'poweroff' } : {}),
  });
}

const parsed = (domainXml: string): ReturnType<DOMParser['parseFromString']> =>
  new DOMParser({ onError: () => undefined }).parseFromString(domainXml, 'text/xml');

/** Whether a domain's guest has opened the port of its agent, by the XML of the running domain. */
export function readAgentPort(domainXml: string): boolean {
  for (const target of parsed(domainXml).getElementsByTagName('target'))
    if (target.getAttribute('name') === AGENT_PORT) return target.getAttribute('state') === 'connected';
  return false;
}

/** The element of the disk with this alias, as text; null when the domain has none. */
export function readDisk(domainXml: string, alias: string): string | null {
  for (const disk of parsed(domainXml).getElementsByTagName('disk'))
    for (const name of disk.getElementsByTagName('alias'))
      if (name.getAttribute('name') === alias) return new XMLSerializer().serializeToString(disk);
  return null;
}

/** The element of the memory that can be plugged, as text, with another request; null when the domain has none. */
export function plugDocument(domainXml: string, requestedMiB: number): string | null {
  for (const memory of parsed(domainXml).getElementsByTagName('memory')) {
    const requested = memory.getElementsByTagName('requested').item(0);
    if (memory.getAttribute('model') !== 'virtio-mem' || requested === null) continue;
    requested.setAttribute('unit', 'MiB');
    requested.textContent = String(requestedMiB);
    return new XMLSerializer().serializeToString(memory);
  }
  return null;
}

/** Our metadata of a domain's XML; null when the domain is not ours or the element is not whole. */
export function readMetadata(domainXml: string): DomainMetadata | null {
  const document = parsed(domainXml);
  const element = document.getElementsByTagNameNS(METADATA_NAMESPACE, 'placement').item(0);
  if (element === null) return null;
  const instanceId = InstanceId.safeParse(element.getAttribute('instance'));
  const epoch = Number(element.getAttribute('epoch'));
  const hostTag = element.getAttribute('host');
  if (!instanceId.success || !Number.isSafeInteger(epoch) || epoch < 1 || hostTag === null) return null;
  const watchdogOff = element.getAttribute('watchdog') === 'poweroff';
  return { hostTag, instanceId: instanceId.data, epoch, watchdogOff };
}

/**
 * Name of an instance's domain: short (libvirt puts it into paths of sockets), the same for every epoch, so that two
 * epochs of one instance cannot both be defined, and different on hosts that share a libvirtd.
 */
export function domainName(hostTag: string, instanceId: InstanceId): string {
  const hash = createHash('sha256').update(`${hostTag}\0${instanceId}`).digest('hex').slice(0, 12);
  return `berth-${hash}-${instanceId.slice(0, 8)}`;
}
