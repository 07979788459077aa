import type { PromptAction } from '@berth/link';
import { BerthError, type Instance } from '@berth/model';
import type { Prompts } from '../../apps/api/src/http/deps.js';

/** What stands for the hosts behind actions that are done at once: it notes them. */
export class DonePrompts implements Prompts {
  /** `<action> <instance>`, of a freeze with its seconds, in order. */
  readonly done: string[] = [];
  /** Thrown at the next one. */
  refusal: BerthError | null = null;
  away = false;

  refuseAway(instance: Instance): void {
    if (this.away)
      throw new BerthError('unavailable', `the host of ${instance.name} is not connected to this API`);
  }

  act(instance: Instance, action: PromptAction): Promise<void> {
    if (this.refusal !== null) return Promise.reject(this.refusal);
    const how = action.verb === 'freeze' ? ` ${action.seconds}` : '';
    this.done.push(`${action.verb} ${instance.name}${how}`);
    return Promise.resolve();
  }
}
