import { setTimeout as wait } from 'node:timers/promises';
import { keyText, type WorkloadKey } from '@berth/runtime';

interface Watched {
  /** Whether the machine's process is there. */
  alive(key: WorkloadKey): Promise<boolean>;
  /** Opens the session again. False when QEMU does not answer. */
  reached(key: WorkloadKey): Promise<boolean>;
  /** The machine must be looked at: its process ended, a new session may have missed events, or its state was a guess. */
  gone(key: WorkloadKey): void;
  /** Regular work. */
  tick(): Promise<void>;
}

const TICK_MS = 2_000;
const FIRST_LOOK_MS = 5;
const SLOWEST_LOOK_MS = 1_000;

/**
 * Looks after machines whose session ended. The end of a session says that QEMU is going, and the process table says
 * when it is gone; nobody else tells, because a detached process need not be our child.
 */
export class Attention {
  readonly #life = new AbortController();
  readonly #later = new Set<string>();
  #ticking = false;

  constructor(private readonly watched: Watched) {}

  lost(key: WorkloadKey): void {
    void this.#follow(key).catch(() => this.#again(key));
  }

  /** Its state is not known for certain now. What QEMU said meanwhile may have been missed, and it says nothing twice. */
  later({ instanceId, epoch }: WorkloadKey, ms: number): void {
    const text = keyText({ instanceId, epoch });
    if (this.#later.has(text)) return;
    this.#later.add(text);
    void this.#sleep(ms).then(() => {
      this.#later.delete(text);
      if (!this.#life.signal.aborted) this.watched.gone({ instanceId, epoch });
    });
  }

  /** Begins the regular work. */
  watch(): void {
    if (this.#ticking) return;
    this.#ticking = true;
    void this.#tick();
  }

  close(): void {
    this.#life.abort();
  }

  async #follow(key: WorkloadKey): Promise<void> {
    for (
      let pause = FIRST_LOOK_MS;
      !this.#life.signal.aborted;
      pause = Math.min(pause * 2, SLOWEST_LOOK_MS)
    ) {
      if (!(await this.watched.alive(key)) || (await this.watched.reached(key))) {
        this.watched.gone(key);
        return;
      }
      await this.#sleep(pause);
    }
  }

  /** Its files could not be read just now. */
  #again(key: WorkloadKey): void {
    void this.#sleep(SLOWEST_LOOK_MS).then(() => {
      if (!this.#life.signal.aborted) this.lost(key);
    });
  }

  async #tick(): Promise<void> {
    while (!this.#life.signal.aborted) {
      await this.watched.tick().catch(() => undefined);
      await this.#sleep(TICK_MS);
    }
  }

  #sleep(ms: number): Promise<void> {
    return wait(ms, undefined, { signal: this.#life.signal, ref: false }).catch(() => undefined);
  }
}
