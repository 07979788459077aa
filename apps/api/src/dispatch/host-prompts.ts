import type { Instance } from '@berth/model';
import type { AgentsDoor } from './agents-door.js';
import { hostOf } from './host-terminals.js';

/** What is asked of a running instance on the hosts whose links this process holds, and is done when it is answered. */
export function hostPrompts(door: Pick<AgentsDoor, 'connected' | 'reset'>): {
  refuseAway(instance: Instance): void;
  reset(instance: Instance): Promise<void>;
} {
  return {
    refuseAway: (instance) => void hostOf(door, instance),
    reset: (instance) => door.reset(hostOf(door, instance).id, instance.id),
  };
}
