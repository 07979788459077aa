import { faultPoint } from '@berth/faults';
import type { ReportBody, SnapshotOrder } from '@berth/link';
import { RuntimeError } from '@berth/runtime';
import type { SnapshotFacet, SnapshotOf, StepContext } from '@berth/runtime';
import type { Clock } from './clock.js';
import type { AgentLog } from './log.js';
import type { Placements } from './placements.js';
import { troubleOf } from './retry.js';
import { Turns, type Errand } from './turns.js';

type Outcome = Extract<ReportBody, { kind: 'snapshot' }>['outcome'];

interface Order extends Errand {
  readonly order: SnapshotOrder;
  /** What became of it; null while it goes on. */
  end: Outcome | null;
}

const stepMs = 600_000;
/** Orders that are carried out at the same time. */
const atOnce = 4;
/** A snapshot that cannot be taken is wanted now, not some day. */
const attemptsToTake = 4;
/** What no repeat can mend. */
const final: ReadonlySet<string> = new Set(['unsupported', 'noSuchSnapshot', 'noSpace']);

/**
 * Carries out the orders on snapshots, those of one instance one after the other. The list is level-triggered: an order is
 * begun again whenever it is listed and was not done in this life, which changes nothing where it had been done before. A
 * revert and a removal go on until they are done; what was begun and is no longer listed is nobody's wish any more.
 */
export class SnapshotOrders {
  private readonly orders = new Map<string, Order>();
  private listed: ReadonlySet<string> = new Set();
  private readonly turns: Turns<Order>;

  constructor(
    private readonly o: {
      readonly clock: Clock;
      readonly log: AgentLog;
      readonly newest: Placements['newest'];
      readonly report: (body: ReportBody) => void;
    },
  ) {
    this.turns = new Turns({
      clock: o.clock,
      atOnce,
      stepMs,
      open: () =>
        [...this.orders.values()].filter(({ end, order }) => end === null && this.listed.has(order.id)),
      owner: ({ order }) => order.instanceId,
      ready: () => true,
      attempt: (order, ctx) => this.attempt(order, ctx),
    });
  }

  /** All orders of the newest list. */
  want(listed: readonly SnapshotOrder[]): void {
    this.listed = new Set(listed.map(({ id }) => id));
    for (const [id, { order }] of this.orders)
      if (!this.listed.has(id) && !this.turns.busy(order.instanceId)) this.orders.delete(id);
    for (const order of listed) {
      const known = this.orders.get(order.id);
      if (known === undefined) this.orders.set(order.id, { order, end: null, attempts: 0, retryAt: 0 });
      else if (known.end !== null) this.say(known, known.end);
    }
    this.turns.wake();
  }

  wake(): void {
    this.turns.wake();
  }

  close(): Promise<void> {
    return this.turns.close();
  }

  private async attempt(one: Order, ctx: StepContext): Promise<void> {
    const { order } = one;
    try {
      await faultPoint(`agent.snapshot.${order.verb}.before`, order.instanceId);
      const taken = await this.carryOut(order, ctx);
      await faultPoint(`agent.snapshot.${order.verb}.after`, order.instanceId);
      this.finish(one, { state: 'done', taken });
    } catch (err) {
      if (this.turns.ending) return;
      this.o.log.warn({ err, order }, 'an order on a snapshot could not be carried out');
      await this.failed(one, err, ctx);
    }
  }

  /** What was taken, or null. @throws RuntimeError */
  private async carryOut(
    order: SnapshotOrder,
    ctx: StepContext,
  ): Promise<Extract<Outcome, { state: 'done' }>['taken']> {
    const { facet, of } = this.reach(order);
    if (order.verb === 'take') return facet.take(of, ctx);
    await facet[order.verb](of, ctx);
    return null;
  }

  /** @throws RuntimeError hostFault, unsupported */
  private reach({ instanceId, snapshotId, volumes, memory }: SnapshotOrder): {
    facet: SnapshotFacet;
    of: SnapshotOf;
  } {
    const newest = this.o.newest(instanceId);
    if ('refusal' in newest) throw new RuntimeError('hostFault', newest.refusal.body.message);
    const facet = newest.runtime.snapshots;
    if (facet === undefined)
      throw new RuntimeError(
        'unsupported',
        `the runtime ${newest.runtime.name} of this host has no snapshots`,
      );
    return { facet, of: { ...newest.key, snapshotId, volumes, ...(memory === true ? { memory } : {}) } };
  }

  private async failed(one: Order, error: unknown, ctx: StepContext): Promise<void> {
    const { order } = one;
    const trouble = troubleOf(error);
    const givenUp = final.has(trouble.code) || (order.verb === 'take' && one.attempts + 1 >= attemptsToTake);
    if (givenUp && order.verb !== 'remove' && (await this.cleared(order, ctx)))
      return this.finish(one, { state: 'failed', ...trouble });
    this.turns.later(one);
    this.say(one, { state: 'retrying', ...trouble });
  }

  /** Whether nothing is left of what was given up. A revert that is refused for good changed nothing. */
  private async cleared(order: SnapshotOrder, ctx: StepContext): Promise<boolean> {
    if (order.verb !== 'take') return true;
    try {
      const { facet, of } = this.reach(order);
      await facet.remove(of, ctx);
      return true;
    } catch (err) {
      this.o.log.warn({ err, order }, 'what is left of a snapshot could not be taken away yet');
      return false;
    }
  }

  private finish(one: Order, end: Outcome): void {
    one.end = end;
    this.say(one, end);
  }

  private say({ order }: Order, outcome: Outcome): void {
    this.o.report({ kind: 'snapshot', orderId: order.id, snapshotId: order.snapshotId, outcome });
  }
}
