import { watchdogExpiredType, type Condition, type ExitInfo } from '@berth/model';
import type { Machine } from './machine-driver.js';
import type { WorkloadRecord } from './workload-record.js';

/*
 * What a machine's watchdog did. A machine that it turns off is paused by QEMU, and its driver takes it for off: a process that
 * stands still tells of its end also when nobody watched, where a QEMU that ended by itself would look like one that crashed.
 */

/** Of a run that its watchdog ended. */
export const watchdogExit: Omit<ExitInfo, 'at'> = {
  reason: 'watchdog',
  message: 'its guest did not tend its watchdog, which turned it off',
};

/** What users are told of a machine whose watchdog expired; null when it did not, or they paused it since. */
export function watchdogCondition(
  { watchdog }: Pick<Machine, 'watchdog'>,
  record: WorkloadRecord | null,
): Omit<Condition, 'since'> | null {
  const type = watchdogExpiredType;
  if (watchdog === true && record?.paused !== true)
    return {
      type,
      reason: 'Paused',
      message: 'its guest did not tend its watchdog, which paused it',
      remedy: 'look at it by its console or display; then resume, reset, restart or stop it',
    };
  const { expiredAt = null, watchdog: action } = record ?? {};
  if (expiredAt === null) return null;
  return action === 'reset'
    ? {
        type,
        reason: 'Reset',
        message: `its guest did not tend its watchdog, which reset it at ${expiredAt}`,
      }
    : {
        type,
        reason: 'Expired',
        message: `its guest did not tend its watchdog, which expired at ${expiredAt}`,
      };
}
