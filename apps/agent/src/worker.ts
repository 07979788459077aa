import type { Assignment, ReportBody } from '@berth/link';
import type { Condition, ExitInfo, Isolation, Phase, Power } from '@berth/model';
import { phaseRank } from '@berth/model';
import { RuntimeError } from '@berth/runtime';
import type { Observation, Runtime, StepContext, WorkloadKey, WorkloadSpec } from '@berth/runtime';
import { backoffMs, Wakeup } from './clock.js';
import type { Clock, Slots } from './clock.js';
import type { Journal, PlacementRecord } from './journal.js';
import type { AgentLog } from './log.js';
import { restartAt, step } from './step.js';
import type { Action, Observed, Wanted } from './step.js';

/** What a worker needs of the agent around it. */
export interface WorkerPorts {
  readonly clock: Clock;
  readonly journal: Journal;
  readonly log: AgentLog;
  readonly bootId: string;
  /** Limits concurrent starts of VMs: they are bound by the cores. */
  readonly startSlots: Slots;
  /** The runtime of an isolation, or why there is none now. */
  runtime(isolation: Isolation): Runtime | { readonly absent: string };
  /** Resolves when every blob of the assignment's image is here. */
  fetchImage(assignment: Assignment, signal: AbortSignal): Promise<void>;
  imagePresent(assignment: Assignment): Promise<boolean>;
  report(body: ReportBody): void;
  /** Lower epochs of the same instance on this host. */
  predecessors(key: WorkloadKey): readonly Worker[];
  /** The epoch is over: others of the instance may wait for that. */
  changed(worker: Worker): void;
  /** The epoch's tombstone is carried out: forget it. */
  removed(worker: Worker): Promise<void>;
}

/** Longest time one step may take, milliseconds. A stop also gets the guest's grace time. */
const limitsMs = {
  fetchImage: 3_600_000,
  prepare: 600_000,
  start: 180_000,
  stop: 60_000,
  other: 60_000,
} as const;

/** How long a runtime may take to tell how a stopped run ended, milliseconds. */
const exitWordMs = 500;

/**
 * Brings one placement to where it is wanted. It owns the placement's record in the journal and is the only one who
 * calls the runtime for it. See step.ts for what it does next.
 */
export class Worker {
  /** Whether the runtime may still hold something of this epoch. */
  leftovers = true;
  private power: Power | null = null;
  private imagePresent = false;
  private prepared = false;
  private retryAt: number | null = null;
  private attempts = 0;
  private fatal: string | null = null;
  private fault: Condition | null = null;
  private tombstone = false;
  get buried(): boolean {
    return this.tombstone;
  }
  /** The exit in the record is our own conclusion; what the runtime says of it is worth more. */
  private exitAssumed = false;
  private action: Action['kind'] = 'none';
  private running: AbortController | null = null;
  private readonly wakeup = new Wakeup();
  private readonly life = new AbortController();
  private loop: Promise<void> | null = null;
  private said = '';
  private onExit: (() => void) | null = null;
  /** The furthest phase said of a run; within a run it never goes back. */
  private furthest: { run: number; phase: Phase } = { run: 0, phase: 'assigned' };
  private gone = false;

  constructor(
    readonly record: PlacementRecord,
    private readonly ports: WorkerPorts,
  ) {}

  get key(): WorkloadKey {
    return { instanceId: this.record.assignment.instanceId, epoch: this.record.assignment.epoch };
  }

  get isolation(): Isolation {
    return this.record.assignment.workload.isolation;
  }

  /** Runs, or may run. */
  get alive(): boolean {
    return !this.record.ended || (this.power !== null && this.power !== 'off' && this.power !== 'crashed');
  }

  get observedPower(): Power {
    return this.power ?? 'off';
  }

  start(): void {
    this.loop ??= this.run();
  }

  /** Leaves the workload as it is. Resolves when no step is under way. */
  async close(): Promise<void> {
    this.life.abort(new Error('the agent ends'));
    this.running?.abort(new Error('the agent ends'));
    this.wakeup.wake();
    await this.loop;
  }

  /** The record's assignment changed: look again, and give up a step that became pointless. */
  assignmentChanged(): void {
    this.retryAt = null;
    this.abandonPointless();
    this.wakeup.wake();
  }

  /** A tombstone names this epoch. */
  bury(): void {
    if (this.tombstone) return;
    this.tombstone = true;
    this.retryAt = null;
    this.abandonPointless();
    this.wakeup.wake();
  }

  wake(): void {
    this.wakeup.wake();
  }

  private abandonPointless(): void {
    const wanted = this.wanted();
    const upward = ['fetchImage', 'prepare', 'start', 'resume', 'pause'].includes(this.action);
    if (upward && (wanted.removed || wanted.power === 'stopped'))
      this.running?.abort(new RuntimeError('deadline', 'it is no longer wanted'));
  }

  /** What the runtime saw. `null`: the runtime was asked for all it holds, and this was not among it. */
  observe(seen: Observation | null): void {
    if (seen === null) this.vanished();
    else this.saw(seen);
    this.wakeup.wake();
  }

  private vanished(): void {
    const { started, exit } = this.record;
    this.power = 'off';
    if (this.record.ended || started === null || exit !== null) return;
    const rebooted = started.bootId !== this.ports.bootId;
    this.recordExit({
      reason: rebooted ? 'hostBoot' : 'lost',
      message: rebooted ? 'the host was booted' : 'the runtime no longer knows it',
      at: this.ports.clock.now().toISOString(),
    });
  }

  private saw(seen: Observation): void {
    if (seen.exit === null) {
      this.power = seen.power;
      if (seen.power === 'running' || seen.power === 'paused') this.noteStarted(seen.power);
      // Between a start that has not returned and its first event, "off" says nothing new.
      if (seen.phase === 'ended' && this.action === 'none') this.vanished();
      return;
    }
    // A late word about the run before this one.
    const last = this.record.lastExit;
    if (last !== null && Date.parse(seen.exit.at) <= Date.parse(last.at)) return;
    this.power = seen.power === 'crashed' ? 'crashed' : 'off';
    if (this.record.exit === null || this.exitAssumed) this.recordExit(seen.exit, false);
  }

  private recordExit(exit: ExitInfo, assumed = true): void {
    this.record.exit = exit;
    this.exitAssumed = assumed;
    this.prepared = false;
    this.onExit?.();
  }

  /** Says where the placement is, whether or not that was said before (a new session). */
  sayAgain(): void {
    this.said = '';
    this.say();
  }

  private async run(): Promise<void> {
    const { clock, log } = this.ports;
    while (!this.life.signal.aborted) {
      const action = await this.next();
      this.action = action.kind;
      // Bookkeeping takes no time and its outcome is said.
      if (!['end', 'refuse', 'beginRun'].includes(action.kind)) this.say();
      if (action.kind === 'none' || action.kind === 'wait') {
        const until = action.kind === 'wait' ? action.until : null;
        await this.wakeup.wait(
          clock,
          until === null ? null : until - clock.now().getTime(),
          this.life.signal,
        );
        continue;
      }
      try {
        await this.perform(action);
        this.settled(action.kind);
        if (action.kind === 'end' || action.kind === 'refuse') this.say();
      } catch (error) {
        if (this.life.signal.aborted) return;
        this.failed(action.kind, error);
      }
      if (action.kind === 'remove' && this.tombstone && this.gone) return;
    }
    log.debug({ ...this.key }, 'worker ended');
  }

  private async next(): Promise<Action> {
    const { assignment } = this.record;
    const runtime = this.ports.runtime(this.isolation);
    if ('absent' in runtime && !this.record.ended) {
      this.fault = this.condition('RuntimeAbsent', 'runtimeAbsent', runtime.absent);
      return { kind: 'wait', until: null };
    }
    if (this.fault?.type === 'RuntimeAbsent') this.fault = null;
    if (!this.imagePresent && !this.record.ended && this.wanted().power !== 'stopped')
      this.imagePresent = await this.ports.imagePresent(assignment);
    return step(this.wanted(), this.observed());
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
    const { record, ports } = this;
    const before = ports.predecessors(this.key);
    const runtime = ports.runtime(this.isolation);
    return {
      now: ports.clock.now().getTime(),
      highestEpoch: ports.journal.get(this.key.instanceId)?.highestEpoch ?? this.key.epoch,
      predecessors: before.length === 0 ? 'none' : before.some((w) => w.alive) ? 'alive' : 'ended',
      ended: record.ended,
      run: record.run,
      power: this.power,
      exit: record.exit,
      imagePresent: this.imagePresent,
      prepared: this.prepared,
      restarts: this.restartsInARow(),
      retryAt: this.retryAt,
      fatal: this.fatal,
      canPause: !('absent' in runtime) && runtime.pause !== undefined && runtime.resume !== undefined,
    };
  }

  /** A run that held out for the longest back-off wipes the slate. */
  private restartsInARow(): number {
    const { started, exit, restarts, assignment } = this.record;
    if (started === null || exit === null) return restarts;
    const held = Date.parse(exit.at) - Date.parse(started.at);
    return held >= assignment.workload.restart.maxBackoffSeconds * 1000 ? 0 : restarts;
  }

  private async perform(action: Action): Promise<void> {
    const { record, ports } = this;
    switch (action.kind) {
      case 'refuse':
        record.ended = true;
        await this.save();
        ports.changed(this);
        return ports.report({ kind: 'refusedEpoch', ...this.key, highest: action.highest });
      case 'beginRun':
        record.lastExit = record.exit;
        record.exit = null;
        record.started = null;
        record.run = action.run;
        record.restarts = action.restarts;
        return this.save();
      case 'end':
        if (action.exit !== null) {
          record.exit = { ...action.exit, at: ports.clock.now().toISOString() };
          this.exitAssumed = true;
        }
        record.ended = true;
        await this.save();
        return ports.changed(this);
      case 'start':
        return this.bounded(action.kind, (runtime, ctx) => this.startRun(runtime, ctx));
      default:
        return this.bounded(action.kind, (runtime, ctx) => this.runtimeStep(action.kind, runtime, ctx));
    }
  }

  private async startRun(runtime: Runtime, ctx: StepContext): Promise<void> {
    const go = (): Promise<void> => runtime.start(this.spec(), ctx);
    await (this.isolation === 'container' ? go() : this.ports.startSlots.run(ctx.signal, go));
    if (this.record.exit === null) this.noteStarted('running');
  }

  /**
   * The run is up. Written without waiting: if a crash takes the note, `recover` finds the workload itself, and after a
   * power cut a run without the note is simply started.
   */
  private noteStarted(power: Power): void {
    this.power = power;
    const { record, ports } = this;
    if (record.started !== null || record.ended) return;
    record.started = { at: ports.clock.now().toISOString(), bootId: ports.bootId };
    this.save().catch((err: unknown) =>
      ports.log.error({ ...this.key, err }, 'the journal cannot be written'),
    );
  }

  private async runtimeStep(kind: Action['kind'], runtime: Runtime, ctx: StepContext): Promise<void> {
    const { ports, key, record } = this;
    switch (kind) {
      case 'fetchImage':
        await ports.fetchImage(record.assignment, ctx.signal);
        this.imagePresent = true;
        return;
      case 'prepare':
        await runtime.prepare(this.spec(), ctx);
        this.prepared = true;
        return;
      case 'clearPredecessors':
        for (const before of ports.predecessors(key)) {
          await runtime.remove(before.key, ctx);
          before.leftovers = false;
        }
        return;
      case 'pause':
        await runtime.pause?.(key, ctx);
        this.power = 'paused';
        return;
      case 'resume':
        await runtime.resume?.(key, ctx);
        this.power = 'running';
        return;
      case 'stop':
        await runtime.stop(key, record.assignment.stopGraceSeconds, ctx);
        this.power = 'off';
        return this.exitSeen();
      case 'remove':
        await runtime.remove(key, ctx);
        this.power = 'off';
        this.gone = true;
        record.ended = true;
        return ports.removed(this);
      default:
        throw new Error(`no step of a runtime: ${kind}`);
    }
  }

  /** How the run ended is said once and for all: give the runtime's own word a moment to arrive. */
  private async exitSeen(): Promise<void> {
    const over = new AbortController();
    this.onExit = () => over.abort();
    if (this.record.exit === null) await this.ports.clock.sleep(exitWordMs, over.signal);
    this.onExit = null;
  }

  private async bounded(
    kind: Action['kind'],
    work: (runtime: Runtime, ctx: StepContext) => Promise<void>,
  ): Promise<void> {
    const { clock } = this.ports;
    const runtime = this.ports.runtime(this.isolation);
    if ('absent' in runtime) throw new RuntimeError('hostFault', runtime.absent);
    const allowed =
      (limitsMs[kind as keyof typeof limitsMs] ?? limitsMs.other) +
      (kind === 'stop' ? this.record.assignment.stopGraceSeconds * 1000 : 0);
    const abort = new AbortController();
    const timer = new AbortController();
    this.running = abort;
    this.abandonPointless();
    void clock.sleep(allowed, timer.signal).then(() => {
      if (!timer.signal.aborted)
        abort.abort(new RuntimeError('deadline', `${kind} took longer than ${allowed} ms`));
    });
    try {
      await work(runtime, { signal: abort.signal, deadline: clock.now().getTime() + allowed });
    } finally {
      timer.abort();
      this.running = null;
    }
  }

  private settled(kind: Action['kind']): void {
    this.retryAt = null;
    this.attempts = kind === 'prepare' || kind === 'fetchImage' ? this.attempts : 0;
    if (kind !== 'beginRun') this.fault = null;
  }

  private failed(kind: Action['kind'], error: unknown): void {
    const { clock, log } = this.ports;
    const wanted = this.wanted();
    const pointless =
      (wanted.removed || wanted.power === 'stopped') && ['fetchImage', 'prepare', 'start'].includes(kind);
    // A start that was cut short may have started it: ask nothing, stop it by name.
    if (pointless) {
      if (kind === 'start' && this.record.exit === null) this.noteStarted('running');
      return;
    }
    const code = error instanceof RuntimeError ? error.code : 'hostFault';
    const message = error instanceof Error ? error.message : String(error);
    log.warn({ ...this.key, action: kind, code, err: error }, 'a step failed');
    if (code === 'imageMissing') this.imagePresent = false;
    if (code === 'notPrepared') this.prepared = false;
    const upward = ['prepare', 'start', 'fetchImage'].includes(kind);
    if (upward && (code === 'badImage' || code === 'unsupported' || code === 'lowerEpoch'))
      this.fatal = message;
    const wait = backoffMs(clock, this.attempts++, 500, 60_000);
    this.retryAt = clock.now().getTime() + wait;
    const remedy = error instanceof RuntimeError ? error.remedy : null;
    this.fault = this.condition('Retrying', code, `${kind}: ${message}`, remedy);
  }

  private condition(type: string, reason: string, message: string, remedy: string | null = null): Condition {
    const same = this.fault?.type === type && this.fault.reason === reason ? this.fault.since : null;
    return {
      type,
      reason,
      message: message.slice(0, 2000),
      since: same ?? this.ports.clock.now().toISOString(),
      ...(remedy === null ? {} : { remedy }),
    };
  }

  private save(): Promise<void> {
    return this.ports.journal.save(this.key.instanceId);
  }

  private spec(): WorkloadSpec {
    return { ...this.record.assignment.workload, networks: this.record.networks };
  }

  private phase(): Phase {
    if (this.record.ended) return 'ended';
    if (this.action === 'stop' || this.action === 'remove') return 'stopping';
    if (this.power === 'running' || this.power === 'paused' || this.power === 'suspended') return 'running';
    // A crash restart is "running" with a condition: it needs no operation.
    if (this.record.run > 1 || this.record.exit !== null) return 'running';
    if (this.action === 'start') return 'starting';
    if (this.action === 'none' || (this.power === null && this.action === 'wait')) return 'assigned';
    return 'preparing';
  }

  private conditions(): Condition[] {
    const all = this.fault === null ? [] : [this.fault];
    const { exit, assignment, run, ended, lastExit } = this.record;
    const cause = exit ?? lastExit;
    const up = this.power === 'running' || this.power === 'paused';
    if (ended || up || cause === null || (exit === null && run === 1) || assignment.wanted === 'stopped')
      return all;
    const until = exit === null ? null : restartAt(assignment.workload.restart, this.restartsInARow(), exit);
    const when = until === null ? 'now' : `at ${new Date(until).toISOString()}`;
    const next = exit === null ? run : run + 1;
    return [
      ...all,
      {
        type: 'Restarting',
        reason: cause.reason,
        message: `run ${next} begins ${when}`,
        since: cause.at,
      },
    ];
  }

  private say(): void {
    const { record, ports } = this;
    if (this.power === null && !record.ended && this.record.started !== null) return;
    let phase = this.phase();
    if (this.furthest.run === record.run && phaseRank(this.furthest.phase) > phaseRank(phase))
      phase = this.furthest.phase;
    this.furthest = { run: record.run, phase };
    const facts = {
      kind: 'placement' as const,
      ...this.key,
      run: record.run,
      phase,
      power: record.ended ? ('off' as const) : this.observedPower,
      exit: record.exit ?? record.lastExit,
      conditions: this.conditions(),
    };
    const text = JSON.stringify(facts);
    if (text === this.said) return;
    this.said = text;
    ports.report({ ...facts, observedAt: ports.clock.now().toISOString() });
  }
}
