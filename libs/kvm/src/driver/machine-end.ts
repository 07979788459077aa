import type { ExitInfo } from '@berth/model';
import type { MachineEnd } from './machine-driver.js';
import type { WorkloadRecord } from './workload-record.js';

/** Why a run ended, from what the driver says of the machine that is off and what we had asked for. Pure. */
export function exitOf(
  record: Pick<WorkloadRecord, 'intent' | 'bootId'>,
  end: MachineEnd,
  now: { readonly bootId: string; readonly at: string },
): ExitInfo {
  const at = now.at;
  // The host went down with it, whatever we had asked for.
  if (record.bootId !== null && record.bootId !== now.bootId)
    return { reason: 'hostBoot', message: 'the host restarted while it ran', at };
  if (record.intent === 'kill') return { reason: 'killed', at };
  switch (end) {
    case 'guestOff':
      return { reason: record.intent === 'stop' ? 'stopped' : 'guestShutdown', at };
    case 'destroyed':
      return { reason: 'killed', message: 'destroyed from outside', at };
    case 'panicked':
      return { reason: 'guestCrash', message: 'the guest kernel panicked', at };
    case 'failed':
      return { reason: 'hypervisorCrash', message: 'QEMU ended by a signal or a fault of its own', at };
    case 'saved':
      if (record.intent === 'stop') return { reason: 'stopped', at };
      return { reason: 'lost', message: 'somebody wrote its memory to a file of theirs', at };
    case 'lost':
    case 'unknown':
      return { reason: 'lost', message: 'it ended while nobody watched', at };
  }
}

/** Whether a machine that is off tells of a run that ended; one that was only defined says `unknown`. */
export function hasRun(record: Pick<WorkloadRecord, 'state'>, end: MachineEnd): boolean {
  return (
    record.state === 'started' ||
    record.state === 'suspending' ||
    (record.state === 'starting' && end !== 'unknown')
  );
}
