import { faultPoint } from '@berth/faults';
import type { ReportBody, Tombstone } from '@berth/link';
import type { Isolation } from '@berth/model';
import type { Runtime, StepContext, WorkloadKey } from '@berth/runtime';
import type { Clock } from './clock.js';
import type { AgentLog } from './log.js';
import type { Runtimes } from './runtimes.js';
import { Turns, type Errand } from './turns.js';
import type { Worker } from './worker.js';

/** Whose orders are carried out one after the other. */
const ownerOf = (tombstone: Tombstone): string =>
  tombstone.instanceId ?? (tombstone.kind === 'volume' ? tombstone.volumeId : tombstone.id);

interface Order extends Errand {
  readonly tombstone: Tombstone;
  readonly worker: Worker | null;
  readonly isolation: Isolation | null;
  /** No placement of the instance uses it any more. */
  readonly mayRemoveVolume: () => boolean;
  done: boolean;
}

const stepMs = 60_000;
/** Orders that are carried out at the same time. */
const atOnce = 8;

/** Carries out the orders to remove, again and again until they are done, and says so as often as they are listed. */
export class Tombstones {
  private readonly orders = new Map<string, Order>();
  private readonly turns: Turns<Order>;

  constructor(
    private readonly o: {
      readonly clock: Clock;
      readonly log: AgentLog;
      readonly runtimes: Runtimes;
      readonly report: (body: ReportBody) => void;
    },
  ) {
    this.turns = new Turns({
      clock: o.clock,
      atOnce,
      stepMs,
      open: () =>
        [...this.orders.values()].filter(
          (order) => !order.done && order.worker === null && this.possible(order),
        ),
      owner: (order) => ownerOf(order.tombstone),
      ready: (order) => this.runtimesFor(order).length > 0,
      attempt: (order, ctx) => this.attempt(order, ctx),
    });
  }

  add(tombstone: Tombstone, facts: Pick<Order, 'worker' | 'isolation' | 'mayRemoveVolume'>): void {
    const known = this.orders.get(tombstone.id);
    if (known !== undefined) {
      if (known.done) this.o.report({ kind: 'tombstoneDone', id: tombstone.id });
      return;
    }
    this.orders.set(tombstone.id, { tombstone, ...facts, done: false, attempts: 0, retryAt: 0 });
    this.bound();
    facts.worker?.bury();
    this.turns.wake();
  }

  /** A worker removed its epoch. */
  carriedOut(key: WorkloadKey): void {
    for (const order of this.orders.values()) {
      const t = order.tombstone;
      if (t.kind === 'epoch' && t.instanceId === key.instanceId && t.epoch === key.epoch) this.finish(order);
    }
  }

  wake(): void {
    this.turns.wake();
  }

  close(): Promise<void> {
    return this.turns.close();
  }

  private finish(order: Order): void {
    if (order.done) return;
    order.done = true;
    this.o.report({ kind: 'tombstoneDone', id: order.tombstone.id });
  }

  /** Orders that are done are kept only to answer repeats; the oldest of them go. */
  private bound(): void {
    for (const [id, order] of this.orders) {
      if (this.orders.size <= 40_000) return;
      if (order.done) this.orders.delete(id);
    }
  }

  private possible(order: Order): boolean {
    return order.tombstone.kind === 'epoch' || order.mayRemoveVolume();
  }

  /** Nobody remembers who made it: every runtime of its isolation that is ready, or of any where that is forgotten too. */
  private runtimesFor(order: Order): readonly Runtime[] {
    return this.o.runtimes.ready(order.isolation);
  }

  private async attempt(order: Order, ctx: StepContext): Promise<void> {
    // Those that were ready: where none is, nothing may pass for removed.
    const runtimes = this.runtimesFor(order);
    const { tombstone } = order;
    try {
      await faultPoint(`agent.${tombstone.kind}.before`, ownerOf(tombstone));
      for (const runtime of runtimes)
        if (tombstone.kind === 'epoch') await runtime.remove(tombstone, ctx);
        else await runtime.removeVolume(tombstone.volumeId, ctx);
      await faultPoint(`agent.${tombstone.kind}.after`, ownerOf(tombstone));
      this.finish(order);
    } catch (err) {
      this.turns.later(order);
      this.o.log.warn({ err, tombstone }, 'a tombstone could not be carried out; it is tried again');
    }
  }
}
