import type { Machine } from '../driver/machine-driver.js';
import type { QmpEvent } from '../qmp/messages.js';
import type { QueryStatusResult, ShutdownData } from '../qmp/schema.gen.js';

/** Events after which a machine's state is to be asked for again (QEMU QMP reference, run state, block and
 * character device events). */
export const livePower: ReadonlySet<QmpEvent['event']> = new Set([
  'SHUTDOWN',
  'STOP',
  'RESUME',
  'SUSPEND',
  'WAKEUP',
  'GUEST_PANICKED',
  'WATCHDOG',
  'BLOCK_IO_ERROR',
  'VSERPORT_CHANGE',
  'DEVICE_TRAY_MOVED',
]);

/** Why QEMU went, where somebody on the host told it to. */
export const quitReasons: ReadonlySet<ShutdownData['reason']> = new Set(['host-signal', 'host-qmp-quit']);

/**
 * What QEMU's run state means for us. A process that waits for its first `cont` never ran its guest.
 * @param watchdogOff a machine that its watchdog paused is off
 */
export function stateOf(
  status: QueryStatusResult['status'],
  watchdogOff: boolean,
): Pick<Machine, 'power' | 'end' | 'watchdog'> {
  switch (status) {
    case 'running':
    case 'colo':
    // A guest that sleeps (ACPI S3) runs: that is its own doing, and it wakes by itself.
    case 'suspended':
      return { power: 'running', end: 'unknown' };
    case 'shutdown':
      return { power: null, end: 'guestOff' };
    case 'guest-panicked':
      return { power: null, end: 'panicked' };
    case 'watchdog':
      return watchdogOff
        ? { power: null, end: 'watchdog' }
        : { power: 'paused', end: 'unknown', watchdog: true };
    case 'internal-error':
      return { power: null, end: 'failed' };
    case 'postmigrate':
      return { power: 'paused', end: 'saved' };
    case 'prelaunch':
    case 'inmigrate':
      return { power: null, end: 'unknown' };
    default:
      return { power: 'paused', end: 'unknown' };
  }
}
