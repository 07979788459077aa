import type { Event } from './client.js';

type Key = readonly unknown[];

/** Which answers an event makes old, as beginnings of query keys. Pure. */
export function staleKeys(event: Event): Key[] {
  const { kind, name } = event.object;
  const project = event.project ?? '';
  const operations: Key[] =
    event.operationId !== null || event.type.startsWith('operation.') ? [['operations', project]] : [];
  switch (kind) {
    case 'instance':
      return [...instanceKeys(event, project, name), ...operations];
    case 'snapshot':
      return [['snapshots', project, event.data['instance']], ...operations];
    case 'network':
      return [['networks', project]];
    case 'volume':
      return [['volumes', project], ...operations];
    case 'image':
      return [['images', project], ...operations];
    case 'secret':
      return [['secrets', project]];
    case 'registryCredential':
      return [['registries', project]];
    case 'host':
      // What a host does shows on its instances too; their own events follow.
      return [['hosts'], ['preview']];
    case 'project':
      return [['projects']];
    case 'token':
      return [['tokens']];
    default:
      return operations;
  }
}

function instanceKeys({ type }: Event, project: string, name: string): Key[] {
  const keys: Key[] = [
    ['instances', project],
    ['instance', project, name],
  ];
  const books = /^(placement\.|instance\.(created|deleted|stateChanged))/.test(type);
  if (books) keys.push(['summary', project], ['hosts'], ['volumes', project], ['preview']);
  if (/^(placement\.made|instance\.(created|statusChanged|stateChanged))$/.test(type))
    keys.push(['decisions', project, name]);
  if (/^instance\.(created|updated|deleted)$/.test(type)) keys.push(['secrets', project]);
  // One that failed may have been of a snapshot, which is gone then.
  if (type.startsWith('operation.')) keys.push(['snapshots', project, name]);
  return keys;
}
