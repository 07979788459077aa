import type { ReportBody } from '@berth/link';
import { keyText, type Held, type Runtime, type WorkloadKey } from '@berth/runtime';
import type { Clock } from './clock.js';
import type { AgentLog } from './log.js';
import type { Runtimes } from './runtimes.js';

/*
 * Parts on the host of an epoch that neither the journal nor the newest list knows, and in which nothing runs: what a
 * kill left between two steps, or between a removal and its record.
 *
 *   inventory -> orphan: reported, marked -(next inventory: still one)-> removed by its runtimes, reported
 *                   |
 *                   +-- known by now, runs, or that inventory failed or was empty: no mark any more
 *
 * What runs is a stranger and left alone; volumes are no part of an inventory.
 */

/** Whether an epoch is one of this host's; null while that cannot be told. */
export type Knowledge = (key: WorkloadKey) => boolean | null;

export interface OrphansOptions {
  readonly clock: Clock;
  readonly log: AgentLog;
  readonly runtimes: Pick<Runtimes, 'groups'>;
  readonly knows: Knowledge;
  readonly report: (body: ReportBody) => void;
  /** From one inventory to the next, milliseconds. */
  readonly everyMs: number;
}

/** One epoch as all runtimes of its isolation find it. */
interface Found extends Held {
  readonly holders: readonly Runtime[];
}

/** An inventory, or a removal, may take so long, milliseconds. */
const stepMs = 60_000;
/** Parts that a report names; a message is bounded. */
const partsTold = 32;

/** Looks for orphans at intervals, and has them removed. */
export class Orphans {
  /** Orphans of the last inventory of each group of runtimes, and when each was first seen. */
  private readonly marks = new Map<string, ReadonlyMap<string, string>>();
  private readonly life = new AbortController();
  private readonly loop: Promise<void>;

  constructor(private readonly o: OrphansOptions) {
    this.loop = this.run();
  }

  async close(): Promise<void> {
    this.life.abort(new Error('the agent ends'));
    await this.loop;
  }

  private async run(): Promise<void> {
    const { clock, everyMs, runtimes } = this.o;
    for (;;) {
      await clock.sleep(everyMs, this.life.signal);
      const groups = new Map(runtimes.groups().map((group) => [group.map((r) => r.name).join(), group]));
      for (const name of this.marks.keys()) if (!groups.has(name)) this.marks.delete(name);
      for (const [name, group] of groups) {
        if (this.life.signal.aborted) return;
        await this.round(name, group);
      }
      if (this.life.signal.aborted) return;
    }
  }

  /** One inventory of runtimes that share an isolation: what one finds may run under another. */
  private async round(name: string, group: readonly Runtime[]): Promise<void> {
    const before = this.marks.get(name) ?? new Map<string, string>();
    this.marks.delete(name);
    let all: readonly Found[];
    try {
      all = together(
        await Promise.all(group.map(async (r) => [r, await this.bounded(r.inventory())] as const)),
      );
    } catch (err) {
      return this.o.log.warn(
        { err, runtimes: name },
        'what is on this host could not be listed; nothing is swept',
      );
    }
    const marks = new Map<string, string>();
    for (const one of all) {
      if (!this.orphaned(one)) continue;
      const since = before.get(keyText(one));
      if (since !== undefined && (await this.sweep(one, since))) continue;
      marks.set(keyText(one), since ?? this.now());
      if (since === undefined) this.tell(one, this.now(), null);
    }
    this.marks.set(name, marks);
  }

  private orphaned(one: Held): boolean {
    return !one.runs && this.o.knows(one) === false;
  }

  /** True when nothing of it is left. A list that names it meanwhile is heard before each removal. */
  private async sweep(one: Found, since: string): Promise<boolean> {
    try {
      for (const runtime of one.holders) {
        if (!this.orphaned(one)) return true;
        await this.remove(runtime, one);
      }
    } catch (err) {
      this.o.log.warn(
        { err, ...this.words(one) },
        'what was left behind could not be removed; it is tried again',
      );
      return false;
    }
    this.o.log.info(this.words(one), 'what was left behind of an unknown epoch was removed');
    this.tell(one, since, this.now());
    return true;
  }

  private async remove(runtime: Runtime, { instanceId, epoch }: WorkloadKey): Promise<void> {
    const abort = new AbortController();
    const ctx = {
      signal: AbortSignal.any([abort.signal, this.life.signal]),
      deadline: this.o.clock.now().getTime() + stepMs,
    };
    await this.bounded(runtime.remove({ instanceId, epoch }, ctx), () => abort.abort());
  }

  private async bounded<T>(work: Promise<T>, late: () => void = () => undefined): Promise<T> {
    const timer = new AbortController();
    const over = AbortSignal.any([timer.signal, this.life.signal]);
    const failing = this.o.clock.sleep(stepMs, over).then((): never => {
      late();
      throw new Error(`not done within ${stepMs} ms`);
    });
    try {
      return await Promise.race([work, failing]);
    } finally {
      timer.abort();
      failing.catch(() => undefined);
    }
  }

  private tell(one: Found, foundAt: string, sweptAt: string | null): void {
    const { instanceId, epoch } = one;
    const parts = one.parts.slice(0, partsTold).map((part) => part.slice(0, 300));
    this.o.report({ kind: 'orphan', instanceId, epoch, parts, foundAt, sweptAt });
  }

  private words({ instanceId, epoch, parts }: Held): object {
    return { instanceId, epoch, parts: parts.slice(0, partsTold) };
  }

  private now(): string {
    return this.o.clock.now().toISOString();
  }
}

function together(inventories: readonly (readonly [Runtime, readonly Held[]])[]): Found[] {
  const all = new Map<string, Found>();
  for (const [runtime, inventory] of inventories)
    for (const one of inventory) {
      const known = all.get(keyText(one));
      all.set(keyText(one), {
        instanceId: one.instanceId,
        epoch: one.epoch,
        runs: one.runs || known?.runs === true,
        parts: [...new Set([...(known?.parts ?? []), ...one.parts])],
        holders: [...(known?.holders ?? []), runtime],
      });
    }
  return [...all.values()];
}
