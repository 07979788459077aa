import { XMLSerializer } from '@xmldom/xmldom';
import { METADATA_NAMESPACE, parsed, type DomainDocument } from './metadata.js';
import { graftBinding } from './numa-xml.js';
import { renderXml, xml } from './xml.js';

/* Documents for the memory of a domain by itself, apart from the run that it came from. */

/** What libvirt calls the disks of a domain, by its XML. */
export function readDiskNames(domainXml: string): string[] {
  return elements(parsed(domainXml), 'disk').flatMap((disk) => {
    const name = disk.getElementsByTagName('target').item(0)?.getAttribute('dev');
    return name === null || name === undefined ? [] : [name];
  });
}

/** A snapshot of a domain's memory alone, in a file. @throws XmlError */
export function memorySnapshotXml(path: string, disks: readonly string[]): string {
  return renderXml(
    xml(
      'domainsnapshot',
      {},
      xml('memory', { snapshot: 'external', file: path }),
      xml(
        'disks',
        {},
        disks.map((name) => xml('disk', { name, snapshot: 'no' })),
      ),
    ),
  );
}

/**
 * The document of a saved domain with what belongs to another run of it: the epoch in its metadata, taps, and paths of seed, log and
 * sockets, the context id, nodes of the host. All else is what the guest sees, and stays as it was. @param fresh the document of that run
 */
export function grafted(saved: string, fresh: string): string {
  const [to, from] = [parsed(saved), parsed(fresh)];
  const epoch = from.getElementsByTagNameNS(METADATA_NAMESPACE, 'placement').item(0)?.getAttribute('epoch');
  const placement = to.getElementsByTagNameNS(METADATA_NAMESPACE, 'placement').item(0);
  if (epoch !== null && epoch !== undefined) placement?.setAttribute('epoch', epoch);
  graft(to, from, 'interface', ['mac', 'address'], ['target', 'dev']);
  graft(to, from, 'disk', ['target', 'dev'], ['source', 'file']);
  graft(to, from, 'serial', ['target', 'port'], ['source', 'path']);
  graft(to, from, 'console', ['target', 'port'], ['source', 'path'], 'serial');
  graft(to, from, 'tpm', null, ['source', 'path']);
  graftBinding(to, from);
  graft(to, from, 'vsock', null, ['cid', 'address']);
  graft(to, from, 'graphics', null, ['listen', 'socket']);
  for (const graphics of elements(to, 'graphics')) {
    // libvirt says it twice, and wants both alike.
    const socket = graphics.getElementsByTagName('listen').item(0)?.getAttribute('socket');
    if (graphics.hasAttribute('socket') && socket !== null && socket !== undefined)
      graphics.setAttribute('socket', socket);
  }
  return new XMLSerializer().serializeToString(to);
}

type Element = ReturnType<DomainDocument['getElementsByTagName']> extends Iterable<infer E> ? E : never;
/** A child's name and one of its attributes. */
type Place = readonly [tag: string, attribute: string];

const elements = (document: DomainDocument, tag: string): Element[] => [
  ...document.getElementsByTagName(tag),
];

const valueAt = (element: Element, [tag, attribute]: Place): string | null =>
  element.getElementsByTagName(tag).item(0)?.getAttribute(attribute) ?? null;

/**
 * Sets an attribute in the elements of one document as it is in those of another that are alike. @param by null where there is one
 * @param twins what they are called there
 */
function graft(
  to: DomainDocument,
  from: DomainDocument,
  tag: string,
  by: Place | null,
  [child, attribute]: Place,
  twins = tag,
): void {
  for (const element of elements(to, tag)) {
    const twin = elements(from, twins).find(
      (one) => by === null || valueAt(one, by)?.toLowerCase() === valueAt(element, by)?.toLowerCase(),
    );
    const value = twin === undefined ? null : valueAt(twin, [child, attribute]);
    const target = element.getElementsByTagName(child).item(0);
    if (value !== null && target?.hasAttribute(attribute) === true) target.setAttribute(attribute, value);
  }
}
