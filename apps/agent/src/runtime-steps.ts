import { RuntimeError } from '@berth/runtime';
import type { Runtime, StepContext } from '@berth/runtime';
import type { PlacementFacts } from './placement-facts.js';
import type { Action } from './step.js';
import type { WorkerPorts } from './worker-ports.js';

/** The actions that a runtime, or the images' way here, carries out. */
export type RuntimeAction = Exclude<Action['kind'], 'none' | 'wait' | 'refuse' | 'beginRun' | 'end'>;

/** Longest time one step may take, milliseconds. A stop also gets the guest's grace time. */
const limitsMs: Partial<Record<RuntimeAction, number>> = {
  fetchImage: 3_600_000,
  prepare: 600_000,
  start: 180_000,
  suspend: 600_000,
};
const otherMs = 60_000;
/** The same where disks may have to be made of snapshots first. */
const copyMs = 4 * 3_600_000;
/** They ask the guest to end, with a time of grace. */
export const ends: ReadonlySet<Action['kind']> = new Set(['stop', 'endUnhealthy']);
const makesDisks: ReadonlySet<RuntimeAction> = new Set(['prepare', 'start', 'update']);

/** How long a runtime may take to tell how a stopped run ended, milliseconds. */
const exitWordMs = 500;

/** Carries out one step of one placement at a time, each with a deadline. The only caller of the runtime for it. */
export class RuntimeSteps {
  private running: AbortController | null = null;
  /** Seconds that the newest stop was begun with. */
  private grace: number | null = null;

  constructor(
    private readonly facts: PlacementFacts,
    private readonly ports: WorkerPorts,
  ) {}

  /** The newest stop gave its guest another time of grace than is wanted now. */
  get otherGrace(): boolean {
    return this.grace !== null && this.grace !== this.facts.record.assignment.stopGraceSeconds;
  }

  /** Gives up the step under way, if there is one. */
  abandon(reason: Error): void {
    this.running?.abort(reason);
  }

  /** `pointless` may abandon the step before its first act. @throws RuntimeError, or whatever kept the step from its end */
  async perform(kind: RuntimeAction, pointless: () => void): Promise<void> {
    const { clock } = this.ports;
    this.grace = ends.has(kind) ? this.facts.record.assignment.stopGraceSeconds : null;
    const allowed = this.limitMs(kind) + (this.grace ?? 0) * 1000;
    const abort = new AbortController();
    const timer = new AbortController();
    this.running = abort;
    pointless();
    void clock.sleep(allowed, timer.signal).then(() => {
      if (!timer.signal.aborted)
        abort.abort(new RuntimeError('deadline', `${kind} took longer than ${allowed} ms`));
    });
    try {
      const { watch } = this.facts;
      const ctx = { signal: abort.signal, deadline: clock.now().getTime() + allowed, watch };
      await watch.time(kind, () => this.step(kind, ctx));
    } finally {
      timer.abort();
      this.running = null;
    }
  }

  private limitMs(kind: RuntimeAction): number {
    const { rootVolume, volumes } = this.facts.record.assignment.workload;
    const copies = [rootVolume, ...volumes].some(({ source }) => source !== undefined);
    return copies && makesDisks.has(kind) ? copyMs : (limitsMs[kind] ?? otherMs);
  }

  private async step(kind: RuntimeAction, ctx: StepContext): Promise<void> {
    const { facts, ports } = this;
    const { record } = facts;
    switch (kind) {
      case 'fetchImage':
        await this.ports.fetchImages(facts.imagesNeeded, ctx.signal);
        facts.imagePresent = true;
        return;
      case 'prepare':
        await (await ports.choice.choose(record)).prepare(facts.spec, ctx);
        facts.prepared = true;
        return;
      case 'clearPredecessors':
        return this.clearPredecessors(ctx);
      case 'start':
        return this.start(ctx);
      case 'pause':
        await this.runtime().pause?.(facts.key, ctx);
        facts.paused();
        return;
      case 'resume':
        await this.runtime().resume?.(facts.key, ctx);
        facts.power = 'running';
        return;
      case 'update':
        return this.update(ctx);
      case 'suspend':
        await this.runtime().suspend?.(facts.spec, ctx);
        facts.suspended();
        return;
      case 'stop':
        await this.runtime().stop(facts.key, this.grace ?? 0, ctx);
        facts.power = 'off';
        return facts.exitSeen(exitWordMs);
      case 'endUnhealthy':
        await this.runtime().stop(facts.key, this.grace ?? 0, ctx);
        await facts.exitSeen(exitWordMs);
        return facts.endedUnhealthy();
      case 'remove':
        for (const runtime of ports.choice.holders(record)) await runtime.remove(facts.key, ctx);
        facts.power = 'off';
        facts.record.ended = true;
        return this.ports.removed(facts.key);
    }
  }

  /** @throws RuntimeError */
  private runtime(): Runtime {
    return this.ports.choice.chosen(this.facts.record);
  }

  private async start(ctx: StepContext): Promise<void> {
    const { facts } = this;
    const runtime = this.runtime();
    const restored = facts.power === 'suspended';
    facts.startBegins();
    const go = (): Promise<void> => runtime.start(facts.spec, ctx);
    await (facts.isolation === 'container' ? go() : this.ports.startSlots.run(ctx.signal, go));
    if (facts.record.exit !== null) return;
    facts.noteStarted('running');
    // One that goes on has what it had when it was suspended.
    if (!restored) facts.startedWhole();
  }

  /** What is to go into its drives may be on its way yet: all else is brought to it. */
  private async update(ctx: StepContext): Promise<void> {
    const { facts } = this;
    const { assignment, networks } = facts.record;
    const whole = facts.imagePresent;
    await this.ports.bringNetworks(networks);
    const has = (await this.runtime().update?.(whole ? facts.spec : facts.specBeside, ctx)) ?? null;
    if (whole) facts.broughtTo(assignment, has);
    else facts.broughtBeside(assignment, has);
  }

  /** Each by the runtime that made it, which need not be the one that is asked next. */
  private async clearPredecessors(ctx: StepContext): Promise<void> {
    for (const before of this.ports.predecessors(this.facts.key)) {
      for (const runtime of this.ports.choice.holders(before.record)) await runtime.remove(before.key, ctx);
      before.cleared();
    }
  }
}
