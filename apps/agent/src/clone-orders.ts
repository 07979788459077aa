import { faultPoint } from '@berth/faults';
import type { CloneOrder, ReportBody } from '@berth/link';
import type { ExportedFile } from '@berth/model';
import type { StepContext } from '@berth/runtime';
import type { Clock } from './clock.js';
import type { AgentLog } from './log.js';
import { troubleOf } from './retry.js';
import { ableTo, type Runtimes } from './runtimes.js';
import { Turns, type Errand } from './turns.js';

type Outcome = Extract<ReportBody, { kind: 'clone' }>['outcome'];

interface Order extends Errand {
  readonly order: CloneOrder;
  /** Ends what is under way when nobody wants it any more. */
  readonly unwanted: AbortController;
  /** What was said last of how far it is, of hundred. */
  told: number;
  /** What became of it; null while it goes on. */
  end: Outcome | null;
}

/** A large disk is copied at the pace of this host. */
const stepMs = 8 * 3_600_000;
/** Each reads and writes as fast as it can. */
const atOnce = 2;
const attemptsToClone = 4;
/** Reports of progress are so far apart, of hundred. */
const tellEvery = 5;
/** What no repeat can mend. */
const final: ReadonlySet<string> = new Set(['unsupported', 'notPrepared', 'noSpace', 'noSuchSnapshot']);

/**
 * Copies the volumes that the host's list names, into volumes or into files to be downloaded. An order is begun anew by each life of the agent until it is done; one that is no
 * longer listed is given up at once, since its volume is to be removed.
 */
export class CloneOrders {
  private readonly orders = new Map<string, Order>();
  private readonly turns: Turns<Order>;

  constructor(
    private readonly o: {
      readonly clock: Clock;
      readonly log: AgentLog;
      readonly runtimes: Pick<Runtimes, 'ready'>;
      readonly report: (body: ReportBody) => void;
    },
  ) {
    this.turns = new Turns({
      clock: o.clock,
      atOnce,
      stepMs,
      open: () => [...this.orders.values()].filter(({ end }) => end === null),
      owner: ({ order }) => order.sourceId,
      ready: () => this.o.runtimes.ready('vm').length > 0,
      attempt: (order, ctx) => this.attempt(order, ctx),
    });
  }

  /** All orders of the newest list. */
  want(listed: readonly CloneOrder[]): void {
    const ids = new Set<string>(listed.map(({ id }) => id));
    for (const [id, one] of this.orders) {
      if (ids.has(id)) continue;
      one.unwanted.abort(new Error('the new volume is not wanted any more'));
      this.orders.delete(id);
    }
    for (const order of listed) {
      const known = this.orders.get(order.id);
      if (known?.end) this.say(known, known.end);
      if (known === undefined)
        this.orders.set(order.id, {
          order,
          unwanted: new AbortController(),
          told: -tellEvery,
          end: null,
          attempts: 0,
          retryAt: 0,
        });
    }
    this.turns.wake();
  }

  wake(): void {
    this.turns.wake();
  }

  close(): Promise<void> {
    return this.turns.close();
  }

  private async attempt(one: Order, { signal, deadline }: StepContext): Promise<void> {
    const { order, unwanted } = one;
    try {
      await faultPoint('agent.clone.before', order.volumeId);
      const ctx = { deadline, signal: AbortSignal.any([signal, unwanted.signal]) };
      const file = await this.carryOut(one, ctx);
      await faultPoint('agent.clone.after', order.volumeId);
      this.finish(one, { state: 'done', ...(file === null ? {} : { file }) });
    } catch (err) {
      if (this.turns.ending || unwanted.signal.aborted) return;
      this.o.log.warn({ err, order }, 'a volume could not be cloned');
      this.failed(one, err);
    }
  }

  /** Resolves with the file of an export. @throws RuntimeError */
  private async carryOut(one: Order, ctx: StepContext): Promise<ExportedFile | null> {
    const { id: _id, export: exporting, snapshotId, ...order } = one.order;
    const clone = { ...order, progress: (percent: number) => this.progress(one, percent) };
    const { runtimes } = this.o;
    if (exporting === true)
      return ableTo(runtimes, 'exportVolume', 'exports volumes').exportVolume({ ...clone, snapshotId }, ctx);
    await ableTo(runtimes, 'cloneVolume', 'clones volumes').cloneVolume(clone, ctx);
    return null;
  }

  private progress(one: Order, percent: number): void {
    if (percent < one.told + tellEvery) return;
    one.told = percent;
    this.say(one, { state: 'copying', percent });
  }

  private failed(one: Order, error: unknown): void {
    const trouble = troubleOf(error);
    if (final.has(trouble.code) || one.attempts + 1 >= attemptsToClone)
      return this.finish(one, { state: 'failed', ...trouble });
    this.turns.later(one);
    this.say(one, { state: 'retrying', ...trouble });
  }

  private finish(one: Order, end: Outcome): void {
    one.end = end;
    this.say(one, end);
  }

  /** Of what is no longer wanted there is nothing to say. */
  private say({ order, unwanted }: Order, outcome: Outcome): void {
    if (!unwanted.signal.aborted) this.o.report({ kind: 'clone', orderId: order.id, outcome });
  }
}
