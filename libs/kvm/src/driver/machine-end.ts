import type { ExitInfo } from '@berth/model';
import { reportedExit } from './guest-report.js';
import type { Machine, MachineEnd } from './machine-driver.js';
import { watchdogExit } from './watchdog.js';
import type { WorkloadRecord } from './workload-record.js';

/** Why a run ended, from what the driver says of the machine that is off and what we had asked for. Pure. */
export function exitOf(
  record: Pick<WorkloadRecord, 'intent' | 'bootId'>,
  {
    end,
    signal,
    report,
    tpmLost,
  }: Pick<Machine, 'end' | 'signal' | 'report'> & { readonly tpmLost?: boolean },
  now: { readonly bootId: string; readonly at: string },
): ExitInfo {
  const at = now.at;
  // The host went down with it, whatever we had asked for.
  if (record.bootId !== null && record.bootId !== now.bootId)
    return { reason: 'hostBoot', message: 'the host restarted while it ran', at };
  if (record.intent === 'kill') return { reason: 'killed', at };
  switch (end) {
    case 'guestOff':
      if (report !== undefined) return { ...reportedExit(report, record.intent === 'stop'), at };
      return { reason: record.intent === 'stop' ? 'stopped' : 'guestShutdown', at };
    case 'destroyed':
      return { reason: 'killed', message: 'destroyed from outside', at };
    case 'panicked':
      return { reason: 'guestCrash', message: 'the guest kernel panicked', at };
    case 'failed':
      return { ...(tpmLost === true && !isSent(signal) ? withoutTpm : failure(signal)), at };
    case 'watchdog':
      return { ...watchdogExit, at };
    case 'saved':
      if (record.intent === 'stop') return { reason: 'stopped', at };
      return { reason: 'lost', message: 'somebody wrote its memory to a file of theirs', at };
    case 'lost':
    case 'unknown':
      return { reason: 'lost', message: 'it ended while nobody watched', at };
  }
}

/** Signals that somebody sends; all others are a program's own faults. */
const sent: ReadonlySet<string> = new Set(['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT']);

const isSent = (signal: Machine['signal']): boolean => typeof signal === 'string' && sent.has(signal);

/** Of a machine whose TPM had ended: QEMU gives up when such a one is reset, by its guest, too. */
const withoutTpm: Omit<ExitInfo, 'at'> = {
  reason: 'hypervisorCrash',
  message: 'the process of its TPM had ended, without which QEMU resets no machine',
};

/** A QEMU that went away under its guest: somebody on the host killed it, or it crashed. */
function failure(signal: Machine['signal']): Omit<ExitInfo, 'at'> {
  if (signal === undefined)
    return { reason: 'hypervisorCrash', message: 'QEMU ended by a signal or a fault of its own' };
  if (signal === null) return { reason: 'hypervisorCrash', message: 'QEMU ended by itself' };
  return isSent(signal)
    ? { reason: 'signalled', signal, message: 'somebody on the host killed QEMU' }
    : { reason: 'hypervisorCrash', signal, message: 'QEMU crashed' };
}

/** Whether a machine that is off tells of a run that ended; one that was only defined says `unknown`. */
export function hasRun(record: Pick<WorkloadRecord, 'state'>, end: MachineEnd): boolean {
  return (
    record.state === 'started' ||
    record.state === 'suspending' ||
    (record.state === 'starting' && end !== 'unknown')
  );
}
