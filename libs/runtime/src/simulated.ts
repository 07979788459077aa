import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { ConsoleOpen, ExecOpen, ExitInfo, Isolation, Usage } from '@berth/model';
import { RuntimeError } from './runtime.js';
import { SimulatedConsole, SimulatedProcess } from './simulated-terminal.js';
import type {
  EnforcedLimits,
  LogOptions,
  Observation,
  Runtime,
  RuntimeProbe,
  StepContext,
  Terminal,
  WorkloadKey,
  WorkloadSpec,
} from './runtime.js';

/** Ways the simulated runtime can be made to break one promise each; see conformance.ts for the promises. */
export const misbehaviours = {
  prepareTwiceMakesTwoVolumes: 'prepare twice makes one volume and starts nothing',
  startTwiceStartsTwo: 'start twice leaves one workload with the same pid',
  stopNeverForces: 'stop asks first, then forces a workload that does not listen',
  stopTwiceRewritesExit: 'stop twice is stop once',
  removeTwiceFails: 'remove twice is remove once',
  removeUnknownFails: 'remove of what never was is no error',
  crashLooksPolite: 'a crash is seen as it happens, with its reason',
  badImageLeavesVolume: 'a bad image is refused and nothing is left',
  writesAreShared: "two instances of one image do not see each other's writes",
  noStartAfterCrash: 'a crashed workload starts again in its epoch with its disk',
  observeForgetsAdopted: 'after an agent restart what runs is adopted, and its later end is observed',
  strangersAreHidden: 'a workload that no journal knows is reported, with its instance and epoch',
  lowerEpochAccepted: 'a lower epoch is refused after a higher one was seen',
  newEpochNewDisk: 'a stopped instance keeps its disk over a new epoch',
  limitsAreGuessed: 'the limits that the host enforces are the ones asked for',
  usageOfTheDead: 'what runs tells what it uses, and what ended does not',
} as const;
export type Misbehaviour = keyof typeof misbehaviours;

interface SimulatedWorkload {
  spec: WorkloadSpec;
  pid: number | null;
  exit: ExitInfo | null;
  log: string;
}

interface HostState {
  nextPid: number;
  starts: number;
  workloads: Record<string, SimulatedWorkload>;
  highestEpoch: Record<string, number>;
  /** Start counters on root disks, by volume id: the "guest's writes". */
  disks: Record<string, number>;
}

const keyText = (k: WorkloadKey): string => `${k.instanceId}/${k.epoch}`;

/**
 * The machine below the simulated runtime: it outlives runtime objects, as a real host outlives its agent.
 * With `file`, it also outlives the process.
 */
export class SimulatedHost {
  readonly state: HostState;
  readonly listeners = new Set<(o: Observation) => void>();

  constructor(
    readonly options: {
      readonly now: () => Date;
      readonly file?: string;
      readonly isolations?: readonly Isolation[];
    },
  ) {
    this.state = this.load();
  }

  private load(): HostState {
    if (this.options.file !== undefined) {
      try {
        return JSON.parse(readFileSync(this.options.file, 'utf8')) as HostState;
      } catch (e) {
        if ((e as NodeJS.ErrnoException).code !== 'ENOENT') throw e;
      }
    }
    return { nextPid: 1000, starts: 0, workloads: {}, highestEpoch: {}, disks: {} };
  }

  /** Keeps the state and tells the observers. */
  changed(o: Observation | null): void {
    if (this.options.file !== undefined) {
      writeFileSync(`${this.options.file}.tmp`, JSON.stringify(this.state));
      renameSync(`${this.options.file}.tmp`, this.options.file);
    }
    if (o !== null) for (const l of this.listeners) l(o);
  }

  /** Ends a workload from outside, as a kill or a guest's own exit would. */
  end(key: WorkloadKey, exit: Omit<ExitInfo, 'at'>): void {
    const w = this.state.workloads[keyText(key)];
    if (w === undefined || w.pid === null) return;
    w.pid = null;
    w.exit = { ...exit, at: this.options.now().toISOString() };
    this.changed(observationOf(w));
  }
}

function observationOf(w: SimulatedWorkload): Observation {
  const runs = w.pid !== null;
  const phase = runs ? 'running' : w.exit === null ? 'preparing' : 'ended';
  return {
    instanceId: w.spec.instanceId,
    epoch: w.spec.epoch,
    phase,
    power: runs ? 'running' : 'off',
    exit: w.exit,
    pid: w.pid,
  };
}

/**
 * A runtime without a hypervisor, for tests of everything above the Runtime interface. Arguments of the process steer it:
 * `sim:stubborn` heeds no polite stop, `sim:exit=<code>` ends by itself at once. An image whose architecture is `bad` is refused.
 */
export class SimulatedRuntime implements Runtime {
  readonly name: string = 'simulated';
  readonly isolations: readonly Isolation[];
  private readonly known = new Set<string>();

  constructor(
    private readonly host: SimulatedHost,
    private readonly misbehave: ReadonlySet<Misbehaviour> = new Set(),
  ) {
    this.isolations = host.options.isolations ?? ['vm', 'container'];
  }

  probe(): Promise<RuntimeProbe> {
    return Promise.resolve({
      ok: true,
      reason: null,
      facets: ['logs', 'limits', 'console', 'exec'],
      facts: {},
    });
  }

  prepare(spec: WorkloadSpec, ctx: StepContext): Promise<void> {
    return this.step(ctx, () => {
      const s = this.host.state;
      this.admitEpoch(spec);
      const bad = spec.image.kind === 'oci' && spec.image.arch === 'bad';
      if (!bad || this.misbehave.has('badImageLeavesVolume')) s.disks[this.diskOf(spec)] ??= 0;
      if (bad)
        throw new RuntimeError('badImage', `image ${spec.image.digest} cannot be used`, {
          remedy: 'Import a sound image.',
        });
      if (s.workloads[keyText(spec)] !== undefined && this.misbehave.has('prepareTwiceMakesTwoVolumes'))
        s.disks[`${spec.rootVolume.id}-2`] = 0;
      s.workloads[keyText(spec)] ??= { spec, pid: null, exit: null, log: '' };
      this.known.add(keyText(spec));
      this.host.changed(null);
    });
  }

  start(spec: WorkloadSpec, ctx: StepContext): Promise<void> {
    return this.step(ctx, () => {
      const s = this.host.state;
      this.admitEpoch(spec);
      const w = s.workloads[keyText(spec)];
      if (w === undefined) throw new RuntimeError('notPrepared', `epoch ${spec.epoch} was never prepared`);
      if (w.pid !== null && !this.misbehave.has('startTwiceStartsTwo')) return;
      if (w.exit !== null && this.misbehave.has('noStartAfterCrash')) return;
      const disk = this.diskOf(spec);
      const count = (s.disks[disk] ?? 0) + 1;
      s.disks[disk] = count;
      s.starts += 1;
      w.pid = s.nextPid++;
      w.exit = null;
      w.log += `ready hostname=${spec.name} boots=${count}\n`;
      this.host.changed(observationOf(w));
      const code = /sim:exit=(\d+)/.exec(spec.process?.args?.join(' ') ?? '')?.[1];
      if (code !== undefined) this.host.end(spec, { reason: 'exited', code: Number(code) });
    });
  }

  stop(key: WorkloadKey, _graceSeconds: number, ctx: StepContext): Promise<void> {
    return this.step(ctx, () => {
      const w = this.host.state.workloads[keyText(key)];
      if (w === undefined) return;
      if (w.pid === null) {
        if (w.exit !== null && this.misbehave.has('stopTwiceRewritesExit'))
          w.exit = { ...w.exit, reason: 'killed' };
        return;
      }
      const stubborn = w.spec.process?.args?.includes('sim:stubborn') ?? false;
      if (stubborn && this.misbehave.has('stopNeverForces')) return;
      this.host.end(key, { reason: stubborn ? 'killed' : 'stopped' });
    });
  }

  remove(key: WorkloadKey, ctx: StepContext): Promise<void> {
    return this.step(ctx, () => {
      const s = this.host.state;
      const everSeen = s.highestEpoch[key.instanceId] !== undefined;
      if (s.workloads[keyText(key)] === undefined) {
        if (everSeen && this.misbehave.has('removeTwiceFails'))
          throw new RuntimeError('hostFault', 'already removed');
        if (!everSeen && this.misbehave.has('removeUnknownFails'))
          throw new RuntimeError('hostFault', 'no such workload');
      }
      delete s.workloads[keyText(key)];
      this.host.changed(null);
    });
  }

  removeVolume(volumeId: string, ctx: StepContext): Promise<void> {
    return this.step(ctx, () => {
      for (const disk of Object.keys(this.host.state.disks))
        if (disk.startsWith(volumeId)) delete this.host.state.disks[disk];
      this.host.changed(null);
    });
  }

  async *observe(signal: AbortSignal): AsyncIterable<Observation> {
    const queue: Observation[] = [];
    let wake: () => void = () => undefined;
    const listener = (o: Observation): void => {
      if (this.misbehave.has('observeForgetsAdopted') && !this.known.has(keyText(o))) return;
      const polite = o.exit !== null && this.misbehave.has('crashLooksPolite');
      queue.push(polite ? { ...o, exit: { ...o.exit, reason: 'exited' } as ExitInfo } : o);
      wake();
    };
    this.host.listeners.add(listener);
    signal.addEventListener('abort', () => wake(), { once: true });
    try {
      while (!signal.aborted) {
        const next = queue.shift();
        if (next !== undefined) yield next;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      this.host.listeners.delete(listener);
    }
  }

  recover(): Promise<Observation[]> {
    const all = Object.values(this.host.state.workloads);
    const hidden = this.misbehave.has('strangersAreHidden');
    return Promise.resolve(
      all.filter((w) => !hidden || w.spec.epoch < 7 || this.known.has(keyText(w.spec))).map(observationOf),
    );
  }

  async *logs(key: WorkloadKey, options: LogOptions, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const text = (): string => this.host.state.workloads[keyText(key)]?.log ?? '';
    let seen = Math.max(0, text().length - (options.tailBytes ?? Infinity));
    const more = (): Buffer => {
      const bytes = Buffer.from(text().slice(seen));
      seen = text().length;
      return bytes;
    };
    const changes = options.follow ? this.observe(signal)[Symbol.asyncIterator]() : null;
    const first = changes?.next();
    yield more();
    for (let next = await first; next?.done === false; next = await changes?.next()) {
      const bytes = more();
      if (bytes.length > 0) yield bytes;
    }
  }

  /** A guest that says every line back that is typed. */
  console(key: WorkloadKey, open: ConsoleOpen, signal: AbortSignal): Promise<Terminal> {
    return Promise.resolve().then(() => {
      const workload = this.running(key);
      const type = (text: string): void => {
        workload.log += text;
        this.host.changed(observationOf(workload));
      };
      const follow = (tailBytes: number, until: AbortSignal): AsyncIterable<Uint8Array> =>
        this.logs(key, { follow: true, tailBytes }, until);
      return new SimulatedConsole(open, { type, follow, ended: this.endOf(key, signal) }, signal);
    });
  }

  /** `echo`, `cat`, `size` and `exit <code>`; anything else is not found. */
  exec(key: WorkloadKey, open: ExecOpen, signal: AbortSignal): Promise<Terminal> {
    return Promise.resolve().then(() => {
      this.running(key);
      return new SimulatedProcess(open, this.endOf(key, signal), signal);
    });
  }

  /** When the workload's run ends; never when the signal fires before. */
  private async endOf(key: WorkloadKey, signal: AbortSignal): Promise<ExitInfo | null> {
    for await (const o of this.observe(signal))
      if (keyText(o) === keyText(key) && o.phase !== 'running') return o.exit;
    return new Promise(() => undefined);
  }

  private running(key: WorkloadKey): SimulatedWorkload {
    const workload = this.host.state.workloads[keyText(key)];
    if (workload === undefined || workload.pid === null)
      throw new RuntimeError('notPrepared', `${keyText(key)} does not run`);
    return workload;
  }

  limits(key: WorkloadKey): Promise<EnforcedLimits> {
    const spec = this.host.state.workloads[keyText(key)]?.spec;
    const guess = this.misbehave.has('limitsAreGuessed');
    return Promise.resolve({
      memoryBytes: spec === undefined ? null : spec.memoryMiB * 1024 * 1024 * (guess ? 2 : 1),
      cpuMillis: spec?.cpuMillis ?? null,
      pids: null,
    });
  }

  /** A workload uses as much as its log is long. */
  usage(): Promise<(WorkloadKey & Usage)[]> {
    const all = Object.values(this.host.state.workloads);
    const counted = all.filter((w) => w.pid !== null || this.misbehave.has('usageOfTheDead'));
    return Promise.resolve(
      counted.map(({ spec, log }) => ({
        instanceId: spec.instanceId,
        epoch: spec.epoch,
        cpuMicros: log.length,
        memoryBytes: 1024 * 1024 + log.length,
        blockReadBytes: log.length,
        blockWriteBytes: null,
      })),
    );
  }

  private diskOf(spec: WorkloadSpec): string {
    if (this.misbehave.has('writesAreShared')) return this.sharedDisk(spec);
    if (this.misbehave.has('newEpochNewDisk') && spec.epoch > 1 && spec.epoch < 7)
      return `${spec.rootVolume.id}-${spec.epoch}`;
    return spec.rootVolume.id;
  }

  /** Only under `writesAreShared`: the first volume that an image's instances made serves all of them. */
  private sharedDisk(spec: WorkloadSpec): string {
    const first = Object.values(this.host.state.workloads).find(
      (w) => w.spec.image.digest === spec.image.digest,
    );
    return (first?.spec ?? spec).rootVolume.id;
  }

  private admitEpoch(spec: WorkloadSpec): void {
    const s = this.host.state;
    const highest = s.highestEpoch[spec.instanceId] ?? 0;
    if (spec.epoch < highest && !this.misbehave.has('lowerEpochAccepted'))
      throw new RuntimeError('lowerEpoch', `epoch ${spec.epoch} is behind ${highest}`);
    s.highestEpoch[spec.instanceId] = Math.max(highest, spec.epoch);
  }

  private async step(ctx: StepContext, act: () => void): Promise<void> {
    ctx.signal.throwIfAborted();
    await Promise.resolve();
    act();
  }
}
