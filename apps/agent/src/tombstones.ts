import { faultPoint } from '@berth/faults';
import type { ReportBody, Tombstone } from '@berth/link';
import type { Isolation } from '@berth/model';
import type { Runtime, WorkloadKey } from '@berth/runtime';
import { backoffMs, Wakeup } from './clock.js';
import type { Clock } from './clock.js';
import type { AgentLog } from './log.js';
import type { Runtimes } from './runtimes.js';
import type { Worker } from './worker.js';

/** Whose orders are carried out one after the other. */
const ownerOf = (tombstone: Tombstone): string =>
  tombstone.instanceId ?? (tombstone.kind === 'volume' ? tombstone.volumeId : tombstone.id);

interface Order {
  readonly tombstone: Tombstone;
  readonly worker: Worker | null;
  readonly isolation: Isolation | null;
  /** No placement of the instance uses it any more. */
  readonly mayRemoveVolume: () => boolean;
  done: boolean;
  attempts: number;
  retryAt: number;
}

const stepMs = 60_000;
/** Orders that are carried out at the same time. */
const atOnce = 8;

/** Carries out the orders to remove, again and again until they are done, and says so as often as they are listed. */
export class Tombstones {
  private readonly orders = new Map<string, Order>();
  /** By their owner. */
  private readonly underWay = new Map<string, Promise<void>>();
  private readonly wakeup = new Wakeup();
  private readonly life = new AbortController();
  private readonly loop: Promise<void>;

  constructor(
    private readonly o: {
      readonly clock: Clock;
      readonly log: AgentLog;
      readonly runtimes: Runtimes;
      readonly report: (body: ReportBody) => void;
    },
  ) {
    this.loop = this.run();
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
    this.wakeup.wake();
  }

  /** A worker removed its epoch. */
  carriedOut(key: WorkloadKey): void {
    for (const order of this.orders.values()) {
      const t = order.tombstone;
      if (t.kind === 'epoch' && t.instanceId === key.instanceId && t.epoch === key.epoch) this.finish(order);
    }
  }

  wake(): void {
    this.wakeup.wake();
  }

  async close(): Promise<void> {
    this.life.abort(new Error('the agent ends'));
    this.wakeup.wake();
    await this.loop;
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

  private async run(): Promise<void> {
    const { clock } = this.o;
    while (!this.life.signal.aborted) {
      const open = [...this.orders.values()].filter((order) => !order.done && order.worker === null);
      for (const order of open) if (this.turn(order)) this.begin(order);
      const due = open.filter((order) => this.waits(order)).map((order) => order.retryAt);
      const ms = due.length === 0 ? null : Math.max(50, Math.min(...due) - clock.now().getTime());
      await this.wakeup.wait(clock, ms, this.life.signal);
    }
    await Promise.all(this.underWay.values());
  }

  /** One that hangs holds up only the orders of its owner, which are carried out one after the other. */
  private turn(order: Order): boolean {
    return (
      !this.underWay.has(ownerOf(order.tombstone)) &&
      this.underWay.size < atOnce &&
      order.retryAt <= this.o.clock.now().getTime() &&
      this.possible(order) &&
      this.runtimesFor(order).length > 0
    );
  }

  private waits(order: Order): boolean {
    return !order.done && this.possible(order) && !this.underWay.has(ownerOf(order.tombstone));
  }

  private begin(order: Order): void {
    const owner = ownerOf(order.tombstone);
    const work = this.attempt(order).finally(() => {
      this.underWay.delete(owner);
      this.wakeup.wake();
    });
    this.underWay.set(owner, work);
  }

  private possible(order: Order): boolean {
    return order.tombstone.kind === 'epoch' || order.mayRemoveVolume();
  }

  /** Nobody remembers who made it: every runtime of its isolation that is ready, or of any where that is forgotten too. */
  private runtimesFor(order: Order): readonly Runtime[] {
    return this.o.runtimes.ready(order.isolation);
  }

  private async attempt(order: Order): Promise<void> {
    const { clock, log } = this.o;
    const runtimes = this.runtimesFor(order);
    const { tombstone } = order;
    const timer = new AbortController();
    const abort = new AbortController();
    const end = (): void => abort.abort(this.life.signal.reason);
    this.life.signal.addEventListener('abort', end, { once: true });
    void clock.sleep(stepMs, timer.signal).then(() => abort.abort(new Error(`not done within ${stepMs} ms`)));
    const ctx = { signal: abort.signal, deadline: clock.now().getTime() + stepMs };
    try {
      await faultPoint(`agent.${tombstone.kind}.before`, ownerOf(tombstone));
      for (const runtime of runtimes)
        if (tombstone.kind === 'epoch') await runtime.remove(tombstone, ctx);
        else await runtime.removeVolume(tombstone.volumeId, ctx);
      await faultPoint(`agent.${tombstone.kind}.after`, ownerOf(tombstone));
      this.finish(order);
    } catch (err) {
      order.retryAt = clock.now().getTime() + backoffMs(clock, order.attempts++, 500, 60_000);
      log.warn({ err, tombstone }, 'a tombstone could not be carried out; it is tried again');
    } finally {
      timer.abort();
      this.life.signal.removeEventListener('abort', end);
    }
  }
}
