import type { ExitInfo } from '@berth/model';
import { ShutoffReason } from '../libvirt/protocol.js';
import type { WorkloadRecord } from './workload-record.js';

/**
 * Why a run ended, from what libvirt says of the domain that is shut off and what we had asked for. Pure.
 * @param reason value of `ShutoffReason`
 */
export function exitOf(
  record: Pick<WorkloadRecord, 'intent' | 'bootId'>,
  reason: number,
  now: { readonly bootId: string; readonly at: string },
): ExitInfo {
  const at = now.at;
  // The host went down with it, whatever we had asked for.
  if (record.bootId !== null && record.bootId !== now.bootId)
    return { reason: 'hostBoot', message: 'the host restarted while it ran', at };
  if (record.intent === 'kill') return { reason: 'killed', at };
  switch (reason) {
    case ShutoffReason.shutdown:
      return { reason: record.intent === 'stop' ? 'stopped' : 'guestShutdown', at };
    case ShutoffReason.destroyed:
      return { reason: 'killed', message: 'destroyed from outside', at };
    case ShutoffReason.crashed:
      return { reason: 'guestCrash', message: 'the guest kernel panicked', at };
    case ShutoffReason.failed:
      return { reason: 'guestCrash', message: 'QEMU ended unexpectedly', at };
    default:
      return { reason: 'lost', message: 'it ended while nobody watched', at };
  }
}

/** Whether a shut-off domain tells of a run that ended; one that was only defined says `unknown`. */
export function hasRun(record: Pick<WorkloadRecord, 'state'>, reason: number): boolean {
  return record.state === 'started' || (record.state === 'starting' && reason !== ShutoffReason.unknown);
}
