import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { sizesNow } from '@berth/model';
import type {
  AttachOpen,
  ConsoleOpen,
  ExecOpen,
  ExitInfo,
  ExportedFile,
  GuestInfo,
  Isolation,
  KeyPress,
  Usage,
  VolumeSeen,
} from '@berth/model';
import {
  RuntimeError,
  disksOf,
  keyText,
  type EnforcedLimits,
  type FilesFacet,
  type GuestFacet,
  type Held,
  type LogOptions,
  type Observation,
  type Runtime,
  type RuntimeProbe,
  type SnapshotFacet,
  type StepContext,
  sizesIn,
  type Terminal,
  type VolumeCloning,
  type WorkloadHas,
  type WorkloadKey,
  type WorkloadSpec,
} from './runtime.js';
import { pngOf, type Picture } from './png.js';
import { SimulatedDisplay, simulatedScreen } from './simulated-display.js';
import { SimulatedConsole, SimulatedProcess } from './simulated-terminal.js';
import { simulatedSnapshots } from './simulated-snapshots.js';
import {
  drivesSeen,
  freeCid,
  hasAgent,
  mediaIn,
  observationOf,
  refuseTpmLost,
  type SimulatedHost,
  type SimulatedWorkload,
} from './simulated-host.js';

/**
 * A runtime without a hypervisor, for tests of everything above the Runtime interface. Arguments of the process steer it:
 * `sim:stubborn` heeds no polite stop, `sim:exit=<code>` ends by itself at once, `sim:reboots` boots once more at each
 * start, `sim:unattended` lets its watchdog expire in its first boot, `sim:fills` fills its disk. An image
 * whose architecture is `bad` is refused. User data `sim:agent` puts an agent into the guest.
 */
export class SimulatedRuntime implements Runtime {
  readonly name: string = 'simulated';
  readonly isolations: readonly Isolation[];

  constructor(
    private readonly host: SimulatedHost,
    private readonly options: { readonly poolFull?: boolean } = {},
  ) {
    this.isolations = host.options.isolations ?? ['vm', 'container'];
    this.snapshots = simulatedSnapshots(host);
  }

  probe(): Promise<RuntimeProbe> {
    return Promise.resolve({
      ok: true,
      reason: null,
      facets: [
        ...[
          'pause',
          'suspend',
          'reset',
          'watchdog',
          'update',
          'logs',
          'limits',
          'console',
          'exec',
          'guest',
          'attach',
        ],
        ...['volumes', 'nics', 'cdroms', 'snapshots', 'memorySnapshots', 'copies', 'clones', 'exports'],
        ...['display', 'screenshot', 'sendKeys', 'displays', 'vsock', 'numa', 'files', 'tpm', 'hostPaths'],
      ],
      facts: {},
    });
  }

  prepare(spec: WorkloadSpec, ctx: StepContext): Promise<void> {
    return this.step(ctx, () => {
      const s = this.host.state;
      this.admitEpoch(spec);
      if (spec.image.kind === 'oci' && spec.image.arch === 'bad')
        throw new RuntimeError('badImage', `image ${spec.image.digest} cannot be used`, {
          remedy: 'Import a sound image.',
        });
      if (s.disks[spec.rootVolume.id] === undefined && this.options.poolFull === true)
        throw new RuntimeError('noSpace', 'the pool is full', { remedy: 'Delete instances.' });
      s.highestEpoch[spec.instanceId] = spec.epoch;
      this.makeDisk(spec.rootVolume);
      s.workloads[keyText(spec)] ??= {
        spec,
        pid: null,
        exit: null,
        log: '',
        macs: spec.nics.map((nic) => nic.mac),
      };
      delete s.debris[keyText(spec)];
      this.host.changed(null);
    });
  }

  start(spec: WorkloadSpec, ctx: StepContext): Promise<void> {
    return this.step(ctx, () => {
      this.admitEpoch(spec);
      const w = this.workload(spec);
      if (w === undefined) throw new RuntimeError('notPrepared', `epoch ${spec.epoch} was never prepared`);
      if (w.pid !== null) return;
      if ((spec.hostPaths ?? []).length > 0)
        throw new RuntimeError('unsupported', 'this host offers no directories', {
          remedy: 'leave out hostPaths',
        });
      const other = this.ofInstance(spec).find((o) => o.pid !== null);
      if (other !== undefined)
        throw new RuntimeError('hostFault', `epoch ${other.spec.epoch} of this instance still runs`);
      if (w.suspended === true) return this.goOn(w);
      if (this.host.state.memories[spec.rootVolume.id] !== undefined) return this.goOnFromSnapshot(w, spec);
      w.spec = { ...w.spec, cdroms: spec.cdroms };
      this.begin(w, this.disksOf(spec));
    });
  }

  private goOnFromSnapshot(w: SimulatedWorkload, spec: WorkloadSpec): void {
    const { memories } = this.host.state;
    if (memories[spec.rootVolume.id] !== spec.memoryMiB)
      throw new RuntimeError('unsupported', 'it does not fit the memory of its snapshot', {
        remedy: `memoryMiB: set it to ${memories[spec.rootVolume.id]}`,
      });
    delete memories[spec.rootVolume.id];
    w.volumes = this.disksOf(spec);
    w.exit = null;
    this.goOn(w);
  }

  private begin(w: SimulatedWorkload, volumes: readonly VolumeSeen[]): void {
    const { state } = this.host;
    w.volumes = volumes;
    w.media = mediaIn(w.spec);
    if (w.spec.vsock === true) w.vsockCid ??= freeCid(Object.values(state.workloads));
    state.starts += 1;
    w.pid = state.nextPid++;
    w.exit = null;
    delete w.expired;
    delete w.tpmLost;
    this.boot(w);
    const args = w.spec.process?.args?.join(' ') ?? '';
    if (args.includes('sim:reboots')) this.boot(w);
    if (args.includes('sim:fills')) w.log += 'no space\n';
    this.host.changed(observationOf(w));
    if (args.includes('sim:unattended') && state.disks[w.spec.rootVolume.id] === 1) this.expire(w);
    const code = /sim:exit=(\d+)/.exec(args)?.[1];
    if (code !== undefined) this.host.end(w.spec, { reason: 'exited', code: Number(code) });
  }

  /** Its guest begins, and counts that on its disk. */
  private boot(w: SimulatedWorkload): void {
    const { disks } = this.host.state;
    const count = (disks[w.spec.rootVolume.id] ?? 0) + 1;
    disks[w.spec.rootVolume.id] = count;
    w.log += `ready hostname=${w.spec.name} boots=${count}\n`;
  }

  private expire(w: SimulatedWorkload): void {
    const { watchdog } = w.spec;
    if (watchdog === undefined || w.expired !== undefined) return;
    if (watchdog === 'poweroff') return this.host.end(w.spec, { reason: 'watchdog' });
    w.expired = watchdog;
    w.paused = watchdog === 'pause';
    if (watchdog === 'reset') this.boot(w);
    this.host.changed(observationOf(w));
  }

  private goOn(w: SimulatedWorkload): void {
    w.suspended = false;
    w.pid = this.host.state.nextPid++;
    this.host.changed(observationOf(w));
  }

  stop(key: WorkloadKey, graceSeconds: number, ctx: StepContext): Promise<void> {
    return this.step(ctx, async () => {
      const w = this.workload(key);
      if (w?.suspended === true) return this.host.end(key, { reason: 'stopped' });
      if (w === undefined || w.pid === null) return;
      const stubborn = w.spec.process?.args?.includes('sim:stubborn') ?? false;
      if (stubborn) await wait(graceSeconds * 1000, undefined, { signal: ctx.signal });
      this.host.end(key, { reason: stubborn || graceSeconds === 0 ? 'killed' : 'stopped' });
    });
  }

  remove(key: WorkloadKey, ctx: StepContext): Promise<void> {
    return this.step(ctx, () => {
      this.host.end(key, { reason: 'killed' });
      delete this.host.state.workloads[keyText(key)];
      delete this.host.state.debris[keyText(key)];
      this.host.changed(null);
    });
  }

  removeVolume(volumeId: string, ctx: StepContext): Promise<void> {
    return this.step(ctx, () => {
      const { state } = this.host;
      const all = Object.values(state.workloads);
      const has = (w: SimulatedWorkload): boolean => w.volumes?.some(({ id }) => id === volumeId) === true;
      if (all.some((w) => w.pid !== null && has(w)))
        throw new RuntimeError('hostFault', `volume ${volumeId} is in use`, { remedy: 'Stop it first.' });
      delete state.disks[volumeId];
      this.host.changed(null);
    });
  }

  cloneVolume({ volumeId, sourceId }: VolumeCloning, ctx: StepContext): Promise<void> {
    return this.step(ctx, () => {
      const { disks } = this.host.state;
      disks[volumeId] ??= disks[sourceId] ?? 0;
      this.host.changed(null);
    });
  }

  async exportVolume({ volumeId, sourceId }: VolumeCloning, ctx: StepContext): Promise<ExportedFile> {
    await this.cloneVolume({ volumeId, sourceId } as VolumeCloning, ctx);
    const bytes = this.exported(volumeId);
    return { sizeBytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
  }

  async readExport(volumeId: string, from: number): Promise<AsyncIterable<Uint8Array>> {
    if (this.host.state.disks[volumeId] === undefined)
      throw new RuntimeError('noSuchFile', `no export ${volumeId} is on this host`);
    const bytes = this.exported(volumeId);
    return Promise.resolve(
      (async function* () {
        await Promise.resolve();
        yield bytes.subarray(from);
      })(),
    );
  }

  private exported(volumeId: string): Buffer {
    return Buffer.from(`what ${volumeId} holds: ${this.host.state.disks[volumeId] ?? 0}\n`);
  }

  async *observe(signal: AbortSignal): AsyncIterable<Observation> {
    const queue: Observation[] = [];
    let wake: () => void = () => undefined;
    const listener = (o: Observation): void => {
      queue.push(o);
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
    return Promise.resolve(Object.values(this.host.state.workloads).map(observationOf));
  }

  inventory(): Promise<Held[]> {
    const { workloads, debris } = this.host.state;
    const keys = [...new Set([...Object.keys(workloads), ...Object.keys(debris)])];
    return Promise.resolve(
      keys.map((text) => {
        const [instanceId, epoch] = text.split('/');
        const w = workloads[text];
        const parts = [...(w === undefined ? [] : [`workload ${text}`]), ...(debris[text] ?? [])];
        const key = { instanceId: instanceId as WorkloadKey['instanceId'], epoch: Number(epoch) };
        return { ...key, runs: w !== undefined && w.pid !== null, parts };
      }),
    );
  }

  pause(key: WorkloadKey, ctx: StepContext): Promise<void> {
    return this.step(ctx, () => this.setPaused(key, true));
  }

  resume(key: WorkloadKey, ctx: StepContext): Promise<void> {
    return this.step(ctx, () => this.setPaused(key, false));
  }

  async update(spec: WorkloadSpec, ctx: StepContext): Promise<WorkloadHas> {
    let has: WorkloadHas = { volumes: [], sizes: sizesIn(spec), unsettled: [] };
    await this.step(ctx, () => {
      const w = this.running(spec);
      w.volumes = this.disksOf(spec);
      w.spec = {
        ...w.spec,
        ...sizesNow(sizesIn(w.spec), { ...spec, cpuMillis: spec.cpuMillis ?? undefined }),
      };
      w.macs = spec.nics.map(({ mac }) => mac);
      const nics = spec.nics.map(({ id }) => id);
      // Drives are those of its start.
      const asked = mediaIn(spec);
      const media = (w.media ?? []).map((had, drive) =>
        drive < asked.length ? (asked[drive] ?? null) : had,
      );
      w.media = media;
      has = { volumes: w.volumes, nics, cdroms: drivesSeen(media), sizes: sizesIn(w.spec), unsettled: [] };
      this.host.changed(null);
    });
    return has;
  }

  /** Volumes are made when they are first wanted. */
  private disksOf(spec: WorkloadSpec): VolumeSeen[] {
    for (const volume of [...spec.volumes, ...(spec.mounts ?? [])]) this.makeDisk(volume);
    return disksOf(spec);
  }

  private makeDisk({ id, source }: Pick<WorkloadSpec['rootVolume'], 'id' | 'source'>): void {
    const { disks, snapshots } = this.host.state;
    if (disks[id] !== undefined) return;
    const begins = source === undefined ? 0 : snapshots[source.snapshotId]?.disks[source.volumeId];
    if (begins === undefined) throw new RuntimeError('noSuchSnapshot', 'there is no such snapshot');
    disks[id] = begins;
  }

  suspend(spec: WorkloadSpec, ctx: StepContext): Promise<void> {
    return this.step(ctx, () => {
      if (this.workload(spec)?.suspended === true) return;
      const w = this.running(spec);
      refuseTpmLost(w);
      w.pid = null;
      w.paused = false;
      w.suspended = true;
      this.host.changed(observationOf(w));
    });
  }

  reset(key: WorkloadKey, ctx: StepContext): Promise<void> {
    return this.step(ctx, () => {
      const w = this.running(key);
      refuseTpmLost(w);
      if (w.paused === true && w.expired !== 'pause')
        throw new RuntimeError('notPrepared', `${keyText(key)} is paused`);
      this.setPaused(key, false);
      this.boot(w);
      this.host.changed(observationOf(w));
    });
  }

  private setPaused(key: WorkloadKey, paused: boolean): void {
    const w = this.running(key);
    if (w.expired === 'pause') delete w.expired;
    else if ((w.paused ?? false) === paused) return;
    w.paused = paused;
    this.host.changed(observationOf(w));
  }

  async *logs(key: WorkloadKey, options: LogOptions, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const text = (): string => this.workload(key)?.log ?? '';
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
      const type = this.keyboard(this.running(key));
      const follow = (tailBytes: number, until: AbortSignal): AsyncIterable<Uint8Array> =>
        this.logs(key, { follow: true, tailBytes }, until);
      return new SimulatedConsole(open, { type, follow, ended: this.endOf(key, signal) }, signal);
    });
  }

  /** A screen on which the log is, and a keyboard whose keys are said back. */
  display(key: WorkloadKey, signal: AbortSignal): Promise<Terminal> {
    return Promise.resolve().then(() => {
      const workload = this.running(key);
      const type = this.keyboard(workload);
      const follow = (until: AbortSignal): AsyncIterable<Uint8Array> =>
        this.logs(key, { follow: true }, until);
      const screen = (): Picture => simulatedScreen(workload.log);
      return new SimulatedDisplay({ type, follow, screen, ended: this.endOf(key, signal) }, signal);
    });
  }

  async screenshot(key: WorkloadKey): Promise<Uint8Array> {
    return pngOf(simulatedScreen(this.running(key).log));
  }

  /** Keys whose name is one character type it; others do nothing. */
  async sendKeys(key: WorkloadKey, presses: readonly KeyPress[]): Promise<void> {
    const workload = await Promise.resolve().then(() => this.running(key));
    if (workload.paused === true) throw new RuntimeError('notPrepared', `${keyText(key)} is paused`);
    const type = this.keyboard(workload);
    for (const [name, ...others] of presses) if (name?.length === 1 && others.length === 0) type(name);
  }

  private keyboard(workload: SimulatedWorkload): (text: string) => void {
    return (text) => {
      workload.log += text;
      this.host.changed(observationOf(workload));
    };
  }

  /** A first process that says back what is typed, and is a terminal where it has one. */
  attach(key: WorkloadKey, open: AttachOpen, signal: AbortSignal): Promise<Terminal> {
    return Promise.resolve().then(() => {
      const { spec } = this.running(key);
      if (!open.readOnly && spec.process?.stdin !== true && spec.process?.tty !== true)
        throw new RuntimeError('notPrepared', `${keyText(key)} was started without an input`);
      return this.console(key, { readOnly: open.readOnly, scrollbackBytes: open.scrollbackBytes }, signal);
    });
  }

  /** `echo`, `cat`, `size` and `exit <code>`; anything else is not found. */
  exec(key: WorkloadKey, open: ExecOpen, signal: AbortSignal): Promise<Terminal> {
    return Promise.resolve().then(() => {
      this.running(key);
      return new SimulatedProcess(open, this.endOf(key, signal), signal);
    });
  }

  /** An agent that has the programs of `exec`. */
  readonly files: FilesFacet = {
    readFile: async (key, path) => {
      const held = await Promise.resolve().then(() => this.running(key).files?.[path]);
      if (held === undefined) throw new RuntimeError('noSuchFile', `the guest has no ${path}`);
      const bytes = Buffer.from(held, 'base64');
      return { sizeBytes: bytes.length, bytes: Readable.from([bytes]) };
    },
    writeFile: async (key, { path }, bytes) => {
      const workload = this.running(key);
      const whole = Buffer.concat(await Readable.from(bytes).toArray());
      workload.files = { ...workload.files, [path]: whole.toString('base64') };
      this.host.changed(null);
      return whole.length;
    },
  };

  readonly guest: GuestFacet = {
    info: async (key) => {
      const { spec } = this.withAgent(key);
      const addresses = (ipv4: string): GuestInfo['interfaces'][number]['addresses'] => [
        { family: 'ipv4', address: ipv4, prefixLength: 24 },
      ];
      return Promise.resolve({
        agentVersion: 'simulated',
        hostname: spec.name,
        os: null,
        interfaces: spec.nics.map(({ mac, ipv4 }, i) => ({
          name: `eth${i}`,
          mac,
          addresses: addresses(ipv4),
        })),
      });
    },
    exec: async (key, open, signal) => {
      this.withAgent(key);
      return Promise.resolve(new SimulatedProcess(open, this.endOf(key, signal), signal));
    },
    readFile: async (key, ...args) => {
      this.withAgent(key);
      return this.files.readFile(key, ...args);
    },
    writeFile: async (key, ...args) => {
      this.withAgent(key);
      return this.files.writeFile(key, ...args);
    },
    freeze: (key) => this.frozen(key, true),
    thaw: (key) => this.frozen(key, false),
  };

  readonly snapshots: SnapshotFacet;

  /** A guest has one file system. */
  private async frozen(key: WorkloadKey, frozen: boolean): Promise<number> {
    const workload = await Promise.resolve().then(() => this.withAgent(key));
    const before = workload.frozen === true;
    workload.frozen = frozen;
    this.host.changed(observationOf(workload));
    return frozen || before ? 1 : 0;
  }

  private withAgent(key: WorkloadKey): SimulatedWorkload {
    const workload = this.running(key);
    if (hasAgent(workload)) return workload;
    throw new RuntimeError('agentAway', 'no agent answers in the guest', { remedy: 'Install one.' });
  }

  /** When the workload's run ends; never when the signal fires before. */
  private async endOf(key: WorkloadKey, signal: AbortSignal): Promise<ExitInfo | null> {
    for await (const o of this.observe(signal))
      if (keyText(o) === keyText(key) && (o.phase !== 'running' || o.power === 'suspended')) return o.exit;
    return new Promise(() => undefined);
  }

  private running(key: WorkloadKey): SimulatedWorkload {
    const workload = this.workload(key);
    if (workload === undefined || workload.pid === null)
      throw new RuntimeError('notPrepared', `${keyText(key)} does not run`);
    return workload;
  }

  limits(key: WorkloadKey): Promise<EnforcedLimits> {
    const spec = this.workload(key)?.spec;
    const memoryBytes = spec === undefined ? null : spec.memoryMiB * 1024 * 1024;
    return Promise.resolve({ memoryBytes, cpuMillis: spec?.cpuMillis ?? null, pids: null });
  }

  /** A workload uses as much as its log is long. */
  usage(of?: WorkloadKey): Promise<(WorkloadKey & Usage)[]> {
    const all = of === undefined ? Object.values(this.host.state.workloads) : [this.workload(of)];
    const running = all.filter((w) => w !== undefined).filter((w) => w.pid !== null);
    return Promise.resolve(
      running.map(({ spec, log }) => ({
        instanceId: spec.instanceId,
        epoch: spec.epoch,
        cpuMicros: log.length,
        memoryBytes: 1024 * 1024 + log.length,
        blockReadBytes: log.length,
        blockWriteBytes: null,
        ...(spec.isolation === 'container' ? { pids: 1 } : {}),
      })),
    );
  }

  private workload(key: WorkloadKey): SimulatedWorkload | undefined {
    return this.host.state.workloads[keyText(key)];
  }

  private ofInstance({ instanceId }: WorkloadKey): SimulatedWorkload[] {
    return Object.values(this.host.state.workloads).filter((w) => w.spec.instanceId === instanceId);
  }

  private admitEpoch(spec: WorkloadSpec): void {
    const highest = this.host.state.highestEpoch[spec.instanceId] ?? 0;
    if (spec.epoch < highest)
      throw new RuntimeError('lowerEpoch', `epoch ${spec.epoch} is behind ${highest}`);
  }

  private async step(ctx: StepContext, act: () => void | Promise<void>): Promise<void> {
    ctx.signal.throwIfAborted();
    await Promise.resolve();
    await act();
  }
}
