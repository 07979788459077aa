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
  /** The guest has opened the port of its agent, by the XML of the running domain. */
  readonly agentPort: boolean;
}

export function metadataElement(
  metadata: Omit<DomainMetadata, 'watchdogOff' | 'agentPort'> & { readonly watchdog?: string | null },
): XmlElement {
  return xml(`${PREFIX}:placement`, {
    [`xmlns:${PREFIX}`]: METADATA_NAMESPACE,
    host: metadata.hostTag,
    instance: metadata.instanceId,
    epoch: metadata.epoch,
    ...(metadata.watchdog === 'poweroff' ? { watchdog: 'poweroff' } : {}),
  });
}

/** A domain's XML, parsed. */
export type DomainDocument = ReturnType<DOMParser['parseFromString']>;

export const parsed = (domainXml: string): DomainDocument =>
  new DOMParser({ onError: () => undefined }).parseFromString(domainXml, 'text/xml');

/** The element of the disk with this alias, as text; null when the domain has none. */
export const readDisk = (domainXml: string, alias: string): string | null =>
  readDevice(domainXml, 'disk', alias);

/** The same of a nic. */
export const readNic = (domainXml: string, alias: string): string | null =>
  readDevice(domainXml, 'interface', alias);

function readDevice(domainXml: string, tag: string, alias: string): string | null {
  for (const device of parsed(domainXml).getElementsByTagName(tag))
    for (const name of device.getElementsByTagName('alias'))
      if (name.getAttribute('name') === alias) return new XMLSerializer().serializeToString(device);
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

/** The context id of its vsock device; null without one. */
export function readCid(document: DomainDocument): number | null {
  const vsock = document.getElementsByTagName('vsock').item(0);
  const cid = vsock?.getElementsByTagName('cid').item(0)?.getAttribute('address');
  return cid === null || cid === undefined ? null : Number(cid);
}

/** What we wrote into a domain's XML, and what of its guest stands there; null when the domain is not ours or the element is not whole. */
export function readMetadata(document: DomainDocument): DomainMetadata | null {
  const element = document.getElementsByTagNameNS(METADATA_NAMESPACE, 'placement').item(0);
  if (element === null) return null;
  const instanceId = InstanceId.safeParse(element.getAttribute('instance'));
  const epoch = Number(element.getAttribute('epoch'));
  const hostTag = element.getAttribute('host');
  if (!instanceId.success || !Number.isSafeInteger(epoch) || epoch < 1 || hostTag === null) return null;
  const watchdogOff = element.getAttribute('watchdog') === 'poweroff';
  const agentPort = [...document.getElementsByTagName('target')]
    .find((target) => target.getAttribute('name') === AGENT_PORT)
    ?.getAttribute('state');
  return {
    ...{ hostTag, instanceId: instanceId.data, epoch, watchdogOff },
    agentPort: agentPort === 'connected',
  };
}

/**
 * Name of an instance's domain: short (libvirt puts it into paths of sockets), the same for every epoch, so that two
 * epochs of one instance cannot both be defined, and different on hosts that share a libvirtd.
 */
export function domainName(hostTag: string, instanceId: InstanceId): string {
  const hash = createHash('sha256').update(`${hostTag}\0${instanceId}`).digest('hex').slice(0, 12);
  return `berth-${hash}-${instanceId.slice(0, 8)}`;
}
