import { storageErrorType, type Condition } from '@berth/model';
import { keyText, type StepContext, type WorkloadKey } from '@berth/runtime';
import type { StorageFault } from './machine-driver.js';

interface Watched {
  /** Free space of the pool above its reserve. */
  freeMiB(): Promise<number>;
  /** Lets a machine go on, if it still stands still because of its disk. */
  goOn(key: WorkloadKey, ctx: StepContext): Promise<void>;
}

interface Stalled {
  readonly key: WorkloadKey;
  stalled: boolean;
  /** When it was let go on last (performance.now); it waits at least `waitMs` after that. */
  letGoAt: number;
  waitMs: number;
}

interface Times {
  readonly lookMs: number;
  readonly longestMs: number;
}

/** Room the pool must have before anything goes on: what one guest would fill in no time is none. */
const ROOM_MIB = 16;
const GO_ON_MS = 10_000;

/**
 * Machines that QEMU paused because their disk could not be written. While there is one, the pool is looked at; once
 * it has room, they are let go on, and the writes that failed are repeated by QEMU. One that stalls again soon waits
 * twice as long each time:
 *
 *   runs -> stalled -(room, and it waited)-> let go -> runs; stalled again within `longestMs`: waits 2, 4, 8 … looks
 */
export class StorageWatch {
  readonly #machines = new Map<string, Stalled>();
  #timer: NodeJS.Timeout | null = null;

  constructor(
    private readonly watched: Watched,
    private readonly times: Times = { lookMs: 2_000, longestMs: 300_000 },
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** What was seen of a machine. */
  saw(key: WorkloadKey, stalled: boolean): void {
    const known = this.#machines.get(keyText(key));
    if (!stalled) {
      if (known !== undefined) known.stalled = false;
      return;
    }
    if (known === undefined) {
      const { lookMs } = this.times;
      this.#machines.set(keyText(key), { key, stalled, letGoAt: -Infinity, waitMs: lookMs });
    } else if (!known.stalled) {
      known.stalled = true;
      known.waitMs = Math.min(known.waitMs * 2, this.times.longestMs);
    }
    this.#arm();
  }

  /** Nothing of it is left. */
  forget(key: WorkloadKey): void {
    this.#machines.delete(keyText(key));
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#machines.clear();
  }

  /** Lets go on whoever may. Called by the timer. */
  async look(): Promise<void> {
    const now = this.now();
    for (const [text, machine] of this.#machines)
      if (!machine.stalled && now - machine.letGoAt > this.times.longestMs) this.#machines.delete(text);
    const due = [...this.#machines.values()].filter((m) => m.stalled && now - m.letGoAt >= m.waitMs);
    if (due.length === 0 || (await this.watched.freeMiB()) < ROOM_MIB) return;
    for (const machine of due) {
      machine.letGoAt = now;
      const ctx = { signal: AbortSignal.timeout(GO_ON_MS), deadline: Date.now() + GO_ON_MS };
      // One that does not answer is tried again after its wait.
      await this.watched.goOn(machine.key, ctx).catch(() => undefined);
    }
  }

  #arm(): void {
    if (this.#timer !== null) return;
    this.#timer = setTimeout(() => {
      void this.look()
        .catch(() => undefined)
        .then(() => {
          this.#timer = null;
          if (this.#machines.size > 0) this.#arm();
        });
    }, this.times.lookMs);
    this.#timer.unref();
  }
}

const texts: Readonly<Record<StorageFault, Omit<Condition, 'type' | 'since'>>> = {
  noSpace: {
    reason: 'NoSpace',
    message: 'it is paused: its host has no space left for its disk',
    remedy:
      'make space in the pool of its host (delete instances or images, or enlarge it); it then goes on by itself',
  },
  writeFailed: {
    reason: 'WriteFailed',
    message: 'it is paused: its host could not write its disk',
    remedy:
      'look at the storage below the pool of its host; it is tried again by itself every few minutes at most',
  },
};

/** What users are told of a machine that its disk holds up. */
export function storageCondition(fault: StorageFault): Omit<Condition, 'since'> {
  return { type: storageErrorType, ...texts[fault] };
}
