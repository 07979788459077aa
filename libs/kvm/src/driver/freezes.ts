import { filesystemsFrozenType, type Condition } from '@berth/model';
import { keyText, type WorkloadKey } from '@berth/runtime';
import type { WorkloadRecord, WorkloadRecords } from './workload-record.js';

interface Guests {
  /** Number of file systems. @throws RuntimeError */
  freeze(key: WorkloadKey, signal: AbortSignal): Promise<number>;
  /** The same; none frozen is no error. @throws RuntimeError */
  thaw(key: WorkloadKey, signal: AbortSignal): Promise<number>;
}

/** What the runtime gives. */
export interface FreezingPorts {
  readonly records: Pick<WorkloadRecords, 'read' | 'write'>;
  /** The record of a machine that runs. @throws RuntimeError notPrepared */
  readonly running: (key: WorkloadKey) => Promise<WorkloadRecord>;
  /** Alone with the instance's record. */
  readonly locked: <T>(key: WorkloadKey, work: () => Promise<T>) => Promise<T>;
  readonly now: () => Date;
}

interface Ports extends FreezingPorts {
  readonly guests: Guests;
  /** What is said of it has changed. */
  readonly changed: (key: WorkloadKey) => void;
}

/** A thaw that a guest did not carry out is repeated so late; ms. */
const AGAIN_MS = 1_000;
const THAW_MS = 10_000;
const RELEASE_MS = 3_000;

/**
 * File systems that stand still, so that a disk can be copied as its guest left it. Whoever froze them may die, and a guest that is
 * never thawed is lost: the latest moment is recorded before they freeze, and from then on they are thawed when it has come, by this
 * life of the agent or the next, again and again until the guest did it or its run is over.
 *
 *   recorded -> frozen -> thawed -> record cleared        whatever fails in between: thawed when it is time
 */
export class Freezes {
  readonly #timers = new Map<string, NodeJS.Timeout>();
  #closed = false;

  constructor(private readonly ports: Ports) {}

  /** Number of file systems that are frozen now, until `thaw`, or for so many seconds. @throws RuntimeError */
  async freeze(key: WorkloadKey, seconds: number, signal: AbortSignal): Promise<number> {
    const { guests, locked, records, running, now } = this.ports;
    await locked(key, async () => {
      const record = await running(key);
      const until = new Date(now().getTime() + seconds * 1000).toISOString();
      await records.write({ ...record, frozenUntil: until });
      this.#arm(key, seconds * 1000);
    });
    try {
      const count = await guests.freeze(key, signal);
      this.ports.changed(key);
      return count;
    } catch (error) {
      // It may have frozen some, or answer too late.
      await this.thaw(key, AbortSignal.timeout(THAW_MS)).catch(() => undefined);
      throw error;
    }
  }

  /** Number of file systems that were thawed. @throws RuntimeError; they are then thawed when it is time */
  async thaw(key: WorkloadKey, signal: AbortSignal): Promise<number> {
    const count = await this.ports.guests.thaw(key, signal);
    await this.ports.locked(key, async () => {
      const record = await this.ports.records.read(key);
      if (record !== null && record.frozenUntil !== null)
        await this.ports.records.write({ ...record, frozenUntil: null });
      this.forget(key);
    });
    this.ports.changed(key);
    return count;
  }

  /** Before it is asked to end: what is frozen would not. Waits a moment, and no longer. */
  async release(key: WorkloadKey): Promise<void> {
    if (this.#timers.has(keyText(key)))
      await this.thaw(key, AbortSignal.timeout(RELEASE_MS)).catch(() => undefined);
  }

  /** What is recorded of it now. */
  saw(key: WorkloadKey, record: WorkloadRecord | null): void {
    const until = record?.state === 'started' ? record.frozenUntil : null;
    if (until === null) this.forget(key);
    else if (!this.#timers.has(keyText(key))) this.#arm(key, Date.parse(until) - this.ports.now().getTime());
  }

  forget(key: WorkloadKey): void {
    clearTimeout(this.#timers.get(keyText(key)));
    this.#timers.delete(keyText(key));
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  #arm({ instanceId, epoch }: WorkloadKey, ms: number): void {
    const key = { instanceId, epoch };
    clearTimeout(this.#timers.get(keyText(key)));
    if (this.#closed) return;
    const due = (): void =>
      void this.thaw(key, AbortSignal.timeout(THAW_MS)).catch(() => {
        if (this.#timers.has(keyText(key))) this.#arm(key, AGAIN_MS);
      });
    this.#timers.set(keyText(key), setTimeout(due, Math.max(ms, 0)).unref());
  }
}

/** What users are told of a machine whose file systems are frozen. */
export function frozenCondition(record: WorkloadRecord | null): Omit<Condition, 'since'> | null {
  if (record?.state !== 'started' || record.frozenUntil === null) return null;
  return {
    type: filesystemsFrozenType,
    reason: 'Frozen',
    message: `its file systems are frozen: whatever writes there waits. They are thawed at ${record.frozenUntil} at the latest`,
    remedy: 'thaw them when the copy is made',
  };
}
