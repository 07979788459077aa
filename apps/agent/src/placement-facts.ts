import type { Assignment } from '@berth/link';
import { isHolding } from '@berth/model';
import type {
  CdromSeen,
  Condition,
  ExitInfo,
  ImageContent,
  Isolation,
  NicId,
  Power,
  Sizes,
  UidRange,
  VolumeSeen,
} from '@berth/model';
import { disksOf, sizesIn, Stopwatch } from '@berth/runtime';
import type { Observation, WorkloadHas, WorkloadKey, WorkloadSpec } from '@berth/runtime';
import type { PlacementRecord } from './journal.js';
import { besideText, booking, liveText, restartFields, restartRequired } from './spec-change.js';
import type { WorkerPorts } from './worker-ports.js';

/** Between two offers of what a workload that runs did not take, milliseconds. */
const OFFER_AGAIN_MS = 30_000;

/** A drive as it is at a start. */
const closed = (digest: CdromSeen['digest']): CdromSeen => ({ digest, trayOpen: false, locked: false });

/** What is known of one placement: its record in the journal, and what the runtime said of it in this life of the agent. */
export class PlacementFacts {
  /** Null until the runtime was asked what it holds. */
  power: Power | null = null;
  imagePresent = false;
  /** `prepare` succeeded for this run. */
  prepared = false;
  /** Whether the runtime may still hold something of this epoch. */
  leftovers = true;
  /** What the runtime says keeps it from its work. */
  conditions: readonly Condition[] = [];
  /** The newest generation that was put into effect, but for what needs a restart; null before the first. */
  revision: number | null = null;
  /** Disks that it has, and their sizes; null until that is known. */
  volumes: readonly VolumeSeen[] | null = null;
  /** Nics that it has, where they change while it runs; null until that is known. */
  nics: readonly NicId[] | null = null;
  /** What is in its CD-ROM drives; null until that is known. */
  cdroms: readonly CdromSeen[] | null = null;
  /** Context id of its vsock device; null while the runtime tells of none. */
  vsockCid: number | null = null;
  /** The same of nodes of its host. */
  numaHostNodes: readonly number[] | null = null;
  /** Users of its host that its own are; null while the runtime tells of none. */
  uidRange: UidRange | null = null;
  /** What it has of its host; null until that is known. */
  sizes: Sizes | null = null;
  /** When what it did not take is offered to it again, milliseconds since the epoch; null when it took all. */
  offerAt: number | null = null;
  /** What of its spec takes effect at the next start. */
  restart: Condition | null = null;
  /** What of the assignment is in effect, of that which can be changed while it runs. */
  private inEffect: string | null = null;
  /** The same of all but its drives, while what is to go into them is on its way. */
  private inEffectBeside: string | null = null;
  /** What the start under way was given. */
  private starting: Assignment | null = null;
  /** How long the parts of this run's start took. */
  watch = new Stopwatch();
  /** The exit in the record is our own conclusion; what the runtime says of it is worth more. */
  private exitAssumed = false;
  private onExit: (() => void) | null = null;

  constructor(
    readonly record: PlacementRecord,
    private readonly ports: Pick<
      WorkerPorts,
      'clock' | 'journal' | 'log' | 'bootId' | 'disksKnown' | 'secretValue'
    >,
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

  /** The runtime paused it, and holds it. */
  get held(): boolean {
    return this.power === 'paused' && this.conditions.some(isHolding);
  }

  /** Images that its next step needs: what runs has its own, and only media come to it. */
  get imagesNeeded(): readonly ImageContent[] {
    const { image, cdroms = [] } = this.record.assignment.workload;
    const media = cdroms.flatMap(({ image: medium }) => medium ?? []);
    return this.power === 'running' || this.power === 'paused' ? media : [image, ...media];
  }

  /** What its probes say of it while it is up. */
  get health(): readonly Condition[] {
    return this.power === 'running' || this.power === 'paused' ? (this.record.health?.conditions ?? []) : [];
  }

  get observedPower(): Power {
    return this.power ?? 'off';
  }

  get spec(): WorkloadSpec {
    const { secrets, ...workload } = booking(this.record.assignment);
    return {
      ...workload,
      networks: this.record.networks,
      ...(secrets === undefined
        ? {}
        : { secrets: secrets.map((one) => ({ ...one, value: this.ports.secretValue(one) })) }),
    };
  }

  /** Crash restarts in a row. A run that held out for the longest back-off wipes the slate. */
  get restartsInARow(): number {
    const { started, exit, restarts, assignment } = this.record;
    if (started === null || exit === null) return restarts;
    const held = Date.parse(exit.at) - Date.parse(started.at);
    return held >= assignment.workload.restart.maxBackoffSeconds * 1000 ? 0 : restarts;
  }

  /** The runtime was asked for all it holds, and this was not among it. */
  vanished(): void {
    const { started, exit } = this.record;
    this.power = 'off';
    if (this.record.ended || started === null || exit !== null) return;
    const rebooted = started.bootId !== this.ports.bootId;
    this.exited(
      {
        reason: rebooted ? 'hostBoot' : 'lost',
        message: rebooted ? 'the host was booted' : 'the runtime no longer knows it',
        at: this.now(),
      },
      true,
    );
  }

  /** What the runtime saw. `idle`: no step is under way. */
  saw(seen: Observation, idle: boolean): void {
    this.conditions = (seen.conditions ?? []).map((c) => {
      const before = this.conditions.find((b) => b.type === c.type && b.reason === c.reason);
      return { ...c, since: before?.since ?? this.now() };
    });
    this.cdroms = seen.cdroms ?? this.cdroms;
    this.vsockCid = seen.vsockCid ?? null;
    this.numaHostNodes = seen.numaHostNodes ?? null;
    this.uidRange = seen.uidRange ?? this.uidRange;
    if (seen.exit === null) {
      this.power = seen.power;
      if (seen.power === 'running' || seen.power === 'paused') this.noteStarted(seen.power);
      // Between a start that has not returned and its first event, "off" says nothing new.
      if (seen.phase === 'ended' && idle) this.vanished();
      return;
    }
    // A late word about the run before this one.
    const last = this.record.lastExit;
    if (last !== null && Date.parse(seen.exit.at) <= Date.parse(last.at)) {
      // Said in answer to what it holds (a new life of ours knows nothing yet): then of this run it holds nothing.
      if (this.power === null) this.vanished();
      return;
    }
    this.power = seen.power === 'crashed' ? 'crashed' : 'off';
    if (this.record.exit === null || this.exitAssumed) this.exited(seen.exit, false);
  }

  /** It is paused because that was asked for. */
  paused(): void {
    this.power = 'paused';
    this.conditions = this.conditions.filter((c) => !isHolding(c));
  }

  /** Something of its spec is not in effect, and may be put into effect while it runs. */
  get behind(): boolean {
    return this.inEffect !== liveText(this.record.assignment);
  }

  /** That is so of more than what is in its drives. */
  get behindBeside(): boolean {
    return this.behind && this.inEffectBeside !== besideText(this.record.assignment);
  }

  /** What it can be brought to before the images for its drives are here: they have what they have. */
  get specBeside(): WorkloadSpec {
    const { cdroms: _, ...rest } = this.spec;
    return rest;
  }

  /** A start begins; what it is given counts, whatever is listed before it is over. */
  startBegins(): void {
    this.starting = this.record.assignment;
  }

  /** All that can be in effect of this assignment now is. @param has null of a runtime that changes nothing while it runs */
  broughtTo(assignment: Assignment, has: WorkloadHas | null): void {
    this.inEffect = liveText(assignment);
    this.revision = assignment.revision;
    this.has(assignment, has);
  }

  /** All but its drives is as this assignment wants it, as far as that can be. */
  broughtBeside(assignment: Assignment, has: WorkloadHas | null): void {
    this.inEffectBeside = besideText(assignment);
    this.has(assignment, has);
  }

  private has(assignment: Assignment, has: WorkloadHas | null): void {
    const { id, sizeMiB } = assignment.workload.rootVolume;
    this.volumes = has?.volumes ?? [{ id, sizeMiB }];
    this.ports.disksKnown();
    this.nics = has?.nics ?? null;
    this.cdroms = has?.cdroms ?? null;
    this.sizes = has?.sizes ?? null;
    const unsettled = has?.unsettled ?? [];
    this.offerAt = unsettled.length === 0 ? null : this.ports.clock.now().getTime() + OFFER_AGAIN_MS;
    const fields = restartFields(assignment, this.record.started?.workload);
    this.restart = restartRequired(fields, unsettled, this.restart?.since ?? this.now());
  }

  /** It was started with all that its assignment asked for then. */
  startedWhole(): void {
    const { starting } = this;
    if (starting === null) return;
    const sizes = sizesIn(booking(starting));
    const nics = this.isolation === 'vm' ? { nics: starting.workload.nics.map(({ id }) => id) } : {};
    const cdroms = starting.workload.cdroms?.map(({ image }) => closed(image?.digest ?? null)) ?? [];
    this.broughtTo(starting, { volumes: disksOf(starting.workload), ...nics, cdroms, sizes, unsettled: [] });
    // Beyond what it boots with it has what its guest takes: that is looked at once it had time to.
    const { memoryMiB, minMemoryMiB = memoryMiB, vcpus, minVcpus = vcpus } = sizes;
    if (memoryMiB > minMemoryMiB || vcpus > minVcpus)
      this.offerAt = this.ports.clock.now().getTime() + OFFER_AGAIN_MS;
  }

  /** Its memory is on disk: what was made for it to run is to be made again before it goes on. */
  suspended(): void {
    this.power = 'suspended';
    this.conditions = [];
    this.prepared = false;
  }

  /** It was ended because its probes said so; where the runtime has not told of that, it is told now. */
  endedUnhealthy(): void {
    this.power = 'off';
    if (this.record.exit === null) this.exited({ reason: 'stopped', at: this.now() }, true);
  }

  private exited(exit: ExitInfo, assumed: boolean): void {
    this.record.exit = this.judged(exit);
    this.exitAssumed = assumed;
    this.prepared = false;
    this.onExit?.();
  }

  /** An end that its probes asked for, whoever tells of it. */
  private judged(exit: ExitInfo): ExitInfo {
    const { unhealthy, assignment } = this.record;
    if (unhealthy === undefined || exit.reason === 'hostBoot' || assignment.wanted === 'stopped') return exit;
    return { ...exit, reason: 'unhealthy', message: unhealthy.message };
  }

  /**
   * The run is up. Written without waiting: if a crash takes the note, `recover` finds the workload itself, and after a
   * power cut a run without the note is simply started.
   */
  noteStarted(power: Power): void {
    this.power = power;
    const { record, ports } = this;
    if (record.started !== null || record.ended) return;
    const { workload } = this.starting ?? record.assignment;
    record.started = { at: this.now(), bootId: ports.bootId, workload };
    this.save().catch((err: unknown) =>
      ports.log.error({ ...this.key, err }, 'the journal cannot be written'),
    );
  }

  /** On disk before anything of the run is done. */
  beginRun(run: number, restarts: number): Promise<void> {
    const { record } = this;
    record.lastExit = record.exit;
    record.exit = null;
    record.started = null;
    record.run = run;
    record.restarts = restarts;
    delete record.health;
    delete record.unhealthy;
    this.inEffect = null;
    this.inEffectBeside = null;
    this.volumes = null;
    this.nics = null;
    this.cdroms = null;
    this.sizes = null;
    this.offerAt = null;
    this.restart = null;
    this.watch = new Stopwatch();
    return this.save();
  }

  /** The epoch is over for good. `exit` is our own word where the runtime has none. */
  end(exit: Omit<ExitInfo, 'at'> | null): Promise<void> {
    if (exit !== null) {
      this.record.exit = { ...exit, at: this.now() };
      this.exitAssumed = true;
    }
    this.record.ended = true;
    return this.save();
  }

  /** How the run ended is said once and for all: give the runtime's own word a moment to arrive. */
  async exitSeen(ms: number): Promise<void> {
    const over = new AbortController();
    this.onExit = () => over.abort();
    if (this.record.exit === null) await this.ports.clock.sleep(ms, over.signal);
    this.onExit = null;
  }

  private save(): Promise<void> {
    return this.ports.journal.save(this.key.instanceId);
  }

  private now(): string {
    return this.ports.clock.now().toISOString();
  }
}
