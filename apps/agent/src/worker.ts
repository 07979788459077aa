import { faultPoint } from '@berth/faults';
import type { Digest, Power, VolumeId } from '@berth/model';
import { RuntimeError } from '@berth/runtime';
import type { Observation, WorkloadKey } from '@berth/runtime';
import { Wakeup } from './clock.js';
import type { PlacementRecord } from './journal.js';
import { PlacementFacts } from './placement-facts.js';
import { PlacementReporter } from './placement-reporter.js';
import { PlacementHealth } from './placement-health.js';
import { failureOf, Retry } from './retry.js';
import { ends, RuntimeSteps } from './runtime-steps.js';
import type { ProbeTarget } from './probe-check.js';
import { runs, step } from './step.js';
import type { Action, Observed, Wanted } from './step.js';
import type { Predecessor, WorkerPorts } from './worker-ports.js';

/** A medium need not be waited for: what else is wanted of a machine that runs may come first. */
const lookedAtAnew = new RuntimeError('deadline', 'its assignment changed');

/**
 * Brings one placement to where it is wanted: asks step.ts what is next, does it, looks again. Alone with the
 * placement's record in the journal and with the runtime's calls for it.
 */
export class Worker implements Predecessor {
  private readonly facts: PlacementFacts;
  private readonly steps: RuntimeSteps;
  private readonly retry: Retry;
  private readonly reporter: PlacementReporter;
  private readonly health: PlacementHealth;
  private tombstone = false;
  private action: Action['kind'] = 'none';
  private readonly wakeup = new Wakeup();
  private readonly life = new AbortController();
  private loop: Promise<void> | null = null;

  constructor(
    readonly record: PlacementRecord,
    private readonly ports: WorkerPorts,
  ) {
    this.facts = new PlacementFacts(record, ports);
    this.steps = new RuntimeSteps(this.facts, ports);
    this.retry = new Retry(ports.clock);
    this.reporter = new PlacementReporter(ports);
    this.health = new PlacementHealth(record, ports, () => this.wakeup.wake());
  }

  get key(): WorkloadKey {
    return this.facts.key;
  }

  /** No runtime was asked yet whether it holds it. */
  get unseen(): boolean {
    return this.facts.power === null;
  }

  get alive(): boolean {
    return this.facts.alive;
  }

  get observedPower(): Power {
    return this.facts.observedPower;
  }

  /** Whether the runtime may still hold something of this epoch. */
  get leftovers(): boolean {
    return this.facts.leftovers;
  }

  /** Its root disk or a data volume, by what it was listed with, or its runtime said. */
  hasVolume(volumeId: VolumeId): boolean {
    const { volumes, mounts = [], rootVolume } = this.record.assignment.workload;
    if (rootVolume.id === volumeId) return true;
    const has = this.facts.volumes ?? [];
    // One that was suspended, or found running, may have what it is no longer listed with.
    const unknown =
      this.facts.volumes === null && this.record.started !== null && this.facts.isolation === 'vm';
    return unknown || [...volumes, ...mounts, ...has].some(({ id }) => id === volumeId);
  }

  /** What lies in its CD-ROM drives, as far as that is known. */
  get media(): Digest[] {
    return (this.facts.cdroms ?? []).flatMap(({ digest }) => digest ?? []);
  }

  cleared(): void {
    this.facts.leftovers = false;
  }

  /** A tombstone names this epoch. */
  get buried(): boolean {
    return this.tombstone;
  }

  start(): void {
    this.loop ??= this.run();
  }

  /** Leaves the workload as it is. Resolves when no step is under way. */
  async close(): Promise<void> {
    const reason = new Error('the agent ends');
    this.life.abort(reason);
    this.steps.abandon(reason);
    this.wakeup.wake();
    await this.loop;
    await this.health.close();
  }

  /** The record's assignment changed: look again, and give up a step that became pointless. */
  assignmentChanged(): void {
    // It may need another one.
    this.facts.imagePresent = false;
    this.retry.now();
    this.abandonPointless();
    if (this.action === 'fetchImage' && runs(this.facts.power)) this.steps.abandon(lookedAtAnew);
    this.wakeup.wake();
  }

  bury(): void {
    if (this.tombstone) return;
    this.tombstone = true;
    this.assignmentChanged();
  }

  wake(): void {
    this.wakeup.wake();
  }

  /** Values of secrets came: a step that lacked one is tried again. */
  secretsCame(): void {
    if (this.record.assignment.workload.secrets === undefined) return;
    this.retry.now();
    this.wakeup.wake();
  }

  /** What the runtime saw. `null`: the runtime was asked for all it holds, and this was not among it. */
  observe(seen: Observation | null): void {
    if (seen === null) this.facts.vanished();
    else this.facts.saw(seen, this.action === 'none' || (this.action === 'wait' && runs(this.facts.power)));
    this.wakeup.wake();
  }

  /** Says where the placement is, whether or not that was said before (a new session). */
  sayAgain(): void {
    this.reporter.forget();
    this.say();
  }

  private say(): void {
    this.reporter.say(this.facts, this.action, this.retry.fault);
  }

  private async run(): Promise<void> {
    while (!this.life.signal.aborted) {
      const action = await this.next();
      this.action = action.kind;
      this.health.follow(this.asked(action.kind));
      // Bookkeeping takes no time and its outcome is said.
      if (!['end', 'refuse', 'beginRun'].includes(action.kind)) this.say();
      if (action.kind === 'none' || action.kind === 'wait') {
        await this.rest(action.kind === 'wait' ? action.until : null);
        continue;
      }
      try {
        await faultPoint(`agent.${action.kind}.before`, this.key.instanceId);
        await this.perform(action);
        await faultPoint(`agent.${action.kind}.after`, this.key.instanceId);
        this.retry.succeeded(action.kind);
        if (action.kind === 'end' || action.kind === 'refuse') this.say();
        if (action.kind === 'remove') break;
      } catch (error) {
        if (this.life.signal.aborted) return;
        this.failed(action.kind, error);
      }
    }
    this.ports.log.debug({ ...this.key }, 'worker ended');
  }

  /** Until something changed, or the time (milliseconds since the epoch) has come. */
  private rest(until: number | null): Promise<unknown> {
    const { clock } = this.ports;
    return this.wakeup.wait(clock, until === null ? null : until - clock.now().getTime(), this.life.signal);
  }

  private async next(): Promise<Action> {
    const { record, facts } = this;
    const runtime = this.ports.choice.of(record);
    if ('absent' in runtime && !record.ended) {
      this.retry.absent(runtime.absent);
      return { kind: 'wait', until: null };
    }
    this.retry.absent(null);
    if (!facts.imagePresent && !record.ended && this.wanted().power !== 'stopped')
      facts.imagePresent = await this.ports.imagesPresent(facts.imagesNeeded);
    return step(this.wanted(), this.observed());
  }

  /** Whom its probes ask; null while there is nobody to be asked. */
  private asked(action: Action['kind']): ProbeTarget | null {
    const { record, facts } = this;
    const idle = ['none', 'wait', 'update', 'fetchImage'].includes(action);
    if (!idle || facts.power !== 'running' || record.unhealthy !== undefined || this.pointless()) return null;
    const runtime = this.ports.choice.of(record);
    if ('absent' in runtime) return null;
    return { key: this.key, runtime, address: record.assignment.workload.nics[0]?.ipv4 ?? null };
  }

  private wanted(): Wanted {
    const { assignment } = this.record;
    return {
      epoch: assignment.epoch,
      power: assignment.wanted,
      removed: this.tombstone,
      restart: assignment.workload.restart,
    };
  }

  private observed(): Observed {
    const { record, facts, ports, retry } = this;
    const before = ports.predecessors(this.key);
    const runtime = ports.choice.of(record);
    return {
      now: ports.clock.now().getTime(),
      highestEpoch: ports.journal.get(this.key.instanceId)?.highestEpoch ?? this.key.epoch,
      predecessors: before.length === 0 ? 'none' : before.some((w) => w.alive) ? 'alive' : 'ended',
      ended: record.ended,
      run: record.run,
      power: facts.power,
      exit: record.exit,
      imagePresent: facts.imagePresent,
      prepared: facts.prepared,
      restarts: facts.restartsInARow,
      retryAt: retry.at,
      fatal: retry.fatal,
      held: facts.held,
      behind: facts.behind,
      behindBeside: facts.behindBeside,
      unhealthy: record.unhealthy !== undefined,
      offerAt: facts.offerAt,
      canSuspend: !('absent' in runtime) && runtime.suspend !== undefined,
      canPause: !('absent' in runtime) && runtime.pause !== undefined && runtime.resume !== undefined,
    };
  }

  private async perform(action: Exclude<Action, { kind: 'none' | 'wait' }>): Promise<void> {
    switch (action.kind) {
      case 'refuse':
        await this.facts.end(null);
        this.ports.changed(this.key);
        return this.ports.report({ kind: 'refusedEpoch', ...this.key, highest: action.highest });
      case 'beginRun':
        return this.facts.beginRun(action.run, action.restarts);
      case 'end':
        await this.facts.end(action.exit);
        return this.ports.changed(this.key);
      default:
        return this.steps.perform(action.kind, () => this.abandonPointless());
    }
  }

  /** What an upward step would reach is no longer wanted. */
  private pointless(): boolean {
    return this.tombstone || this.record.assignment.wanted === 'stopped';
  }

  private abandonPointless(): void {
    const upward = ['fetchImage', 'prepare', 'start', 'resume', 'pause', 'suspend'].includes(this.action);
    if (upward && this.pointless())
      this.steps.abandon(new RuntimeError('deadline', 'it is no longer wanted'));
    // It begins anew, with the other.
    if (ends.has(this.action) && this.steps.otherGrace)
      this.steps.abandon(new RuntimeError('deadline', 'it is given another time of grace'));
  }

  private failed(kind: Action['kind'], error: unknown): void {
    const { facts } = this;
    if (this.pointless() && ['fetchImage', 'prepare', 'start'].includes(kind)) {
      // A start that was cut short may have started it: ask nothing, stop it by name.
      if (kind === 'start' && this.record.exit === null) facts.noteStarted('running');
      return;
    }
    if ((ends.has(kind) && this.steps.otherGrace) || error === lookedAtAnew) return;
    const { code } = failureOf(error);
    this.ports.log.warn({ ...this.key, action: kind, code, err: error }, 'a step failed');
    if (code === 'imageMissing') facts.imagePresent = false;
    if (code === 'notPrepared') facts.prepared = false;
    this.retry.failed(kind, error);
  }
}
