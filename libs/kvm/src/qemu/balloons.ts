import type { GuestMemory } from '@berth/model';
import { BALLOON_SECONDS, guestMemoryOfQemu } from '../driver/guest-memory.js';
import { BALLOON_DEVICE } from '../machine/machine-spec.js';
import type { QmpClient } from '../qmp/client.js';
import { QmpError, type ExecuteOptions } from '../qmp/commands.js';

const balloon = { path: `/machine/peripheral/${BALLOON_DEVICE}` };

/** Balloons of machines of our driver. QEMU asks no guest by itself, so each session begins with telling it to. */
export class Balloons {
  /** Whether the machine of a session has a balloon. */
  readonly #known = new WeakMap<QmpClient, boolean>();

  /** What a guest told last; null when it never did, or its machine has no balloon. @throws QmpTransportError */
  async read(client: QmpClient, bounds: ExecuteOptions): Promise<GuestMemory | null> {
    const known = this.#known.get(client) ?? (await this.#begin(client, bounds));
    if (!known) return null;
    const answer = await client.execute('qom-get', { ...balloon, property: 'guest-stats' }, bounds);
    return guestMemoryOfQemu(answer, Date.now());
  }

  /** A microVM has none, and one of an agent of before names it otherwise. */
  async #begin(client: QmpClient, bounds: ExecuteOptions): Promise<boolean> {
    const period = { ...balloon, property: 'guest-stats-polling-interval', value: BALLOON_SECONDS };
    let has = true;
    try {
      await client.execute('qom-set', period, bounds);
    } catch (error) {
      if (!(error instanceof QmpError)) throw error;
      has = false;
    }
    this.#known.set(client, has);
    return has;
  }
}
