import type { Machine } from '../driver/machine-driver.js';
import type { RunState } from '../qmp/commands.js';

/** Events after which a machine's state is to be asked for again (QEMU QMP reference, run state and block events). */
export const livePower: ReadonlySet<string> = new Set([
  'SHUTDOWN',
  'STOP',
  'RESUME',
  'SUSPEND',
  'WAKEUP',
  'GUEST_PANICKED',
  'BLOCK_IO_ERROR',
]);

/** What QEMU's run state means for us. A process that waits for its first `cont` never ran its guest. */
export function stateOf(status: RunState): Pick<Machine, 'power' | 'end'> {
  switch (status) {
    case 'running':
    case 'colo':
      return { power: 'running', end: 'unknown' };
    case 'suspended':
      return { power: 'suspended', end: 'unknown' };
    case 'shutdown':
      return { power: null, end: 'guestOff' };
    case 'guest-panicked':
      return { power: null, end: 'panicked' };
    case 'internal-error':
      return { power: null, end: 'failed' };
    case 'prelaunch':
    case 'inmigrate':
      return { power: null, end: 'unknown' };
    default:
      return { power: 'paused', end: 'unknown' };
  }
}
