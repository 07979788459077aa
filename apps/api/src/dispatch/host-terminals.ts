import { BerthError, type Instance, type TerminalOpen } from '@berth/model';
import type { AgentsDoor } from './agents-door.js';
import type { HostTerminal } from './host-terminal.js';

/**
 * Terminals of instances on the hosts whose links this process holds. With several API processes, a ticket is asked for
 * and spent at the one that the host is connected to.
 */
export function hostTerminals(door: Pick<AgentsDoor, 'connected' | 'terminal'>): {
  refuseAway(instance: Instance): void;
  open(instance: Instance, open: TerminalOpen, signal: AbortSignal): Promise<HostTerminal>;
} {
  const hostOf = ({ name, status }: Instance): NonNullable<Instance['status']['host']> => {
    if (status.host === null) throw new BerthError('stateConflict', `${name} is on no host`);
    if (door.connected().includes(status.host.id)) return status.host;
    throw new BerthError(
      'unavailable',
      `the host ${status.host.name} of ${name} is not connected to this API`,
      {
        remedy: 'Look at GET /v1/hosts; its agent connects again by itself when it runs.',
      },
    );
  };
  return {
    refuseAway: (instance) => void hostOf(instance),
    open: async (instance, open, signal) => door.terminal(hostOf(instance).id, instance.id, open, signal),
  };
}
