import type { ReportBody } from '@berth/link';
import type { AssignmentList } from '../store/store.js';

type Named = readonly [point: string, key: string];

/** A list, by what it says of each instance: the wanted state of an epoch, or that something of it is to go. */
export function listFaults(list: AssignmentList, when: 'offered' | 'sent'): Named[] {
  return [
    ...list.assignments.map((a): Named => [`api.list.${a.wanted}.${when}`, a.instanceId]),
    ...list.tombstones.map((t): Named => [`api.list.removed.${when}`, t.instanceId ?? t.id]),
  ];
}

/** A report, by the phase it tells of; of a tombstone by the tombstone's id. */
export function reportFaults(body: ReportBody, when: 'received' | 'committed'): Named[] {
  if (body.kind === 'placement') return [[`api.report.${body.phase}.${when}`, body.instanceId]];
  return body.kind === 'tombstoneDone' ? [[`api.report.removed.${when}`, body.id]] : [];
}
