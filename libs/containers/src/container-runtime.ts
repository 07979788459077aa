import { rmSync, watch } from 'node:fs';
import { dirname, join } from 'node:path';
import { faultPoint } from '@berth/faults';
import {
  attachFacet,
  type AttachOpen,
  type ExecOpen,
  type ExitInfo,
  type InstanceProcesses,
  mountsFacet,
  nestingFacet,
  secretsFacet,
  resourcesFacet,
  securityFacet,
  systemFacet,
  type Usage,
  type VolumeId,
  type VolumeSeen,
} from '@berth/model';
import {
  cgroupBlockBytes,
  cgroupKill,
  cgroupLimits,
  cgroupUsage,
  hasCode,
  type ProcessIdentity,
} from '@berth/linux';
import {
  type EnforcedLimits,
  type FilesFacet,
  type Held,
  type LogOptions,
  type Observation,
  type Runtime,
  RuntimeError,
  type RuntimeProbe,
  type StepContext,
  type Stopwatch,
  timed,
  type Unsettled,
  type Terminal,
  type WorkloadHas,
  type WorkloadKey,
  type WorkloadSpec,
  KeyedLock,
} from '@berth/runtime';
import { AttachTerminal } from './attach/attach-terminal.js';
import { initIsThere } from './bundle/init-process.js';
import { boundsDisks } from './bundle/limits.js';
import { containerProcesses } from './container-processes.js';
import { endedConditions } from './ended-layers.js';
import { Execs } from './exec/execs.js';
import { planOf, stopSignalOf } from './bundle/system.js';
import { containerFileRead, containerFileWrite } from './files/container-files.js';
import { Copies } from './files/copies.js';
import { HostParts, inputOf, type OciImage } from './host-parts.js';
import { liveSizes } from './isolation/live-sizes.js';
import { lxcfsMissing } from './isolation/lxcfs.js';
import { cgroup2There, cgroupFrozen, cgroupRemoveEmpty } from './isolation/cgroup-trees.js';
import { passable } from './isolation/rootfs.js';
import { UidRanges } from './isolation/uid-ranges.js';
import { Inventory } from './inventory.js';
import type { Launcher } from './launch/launcher.js';
import { launcherFind } from './launch/launcher-find.js';
import { layerFault } from './room-faults.js';
import { logRead } from './log-reader.js';
import { ObservationHub } from './observation-hub.js';
import type { ContainerRuntimeOptions } from './ports.js';
import { probe } from './probe.js';
import { type LiveRecord, Runs } from './runs.js';
import { WritableLayers } from './writable-layers.js';
import { secretMountPoints } from './secrets/secret-files.js';
import { RecordStore, type WorkloadRecord, workloadId, workloadKey } from './workload-record.js';

/** Events may be lost with a watch; identities are looked at this often, ms. */
const RESYNC_MS = 2000;
/** So many workloads are looked at in a row: a few milliseconds. */
const PIECE = 50;

const FACETS = [
  ...['pause', 'update', 'logs', 'exec', 'files', 'limits', 'layers'],
  ...[attachFacet, securityFacet, nestingFacet, secretsFacet, resourcesFacet, mountsFacet],
] as const;

/** The container runtime of a host: OCI images in namespaces and cgroups. */
export function createContainerRuntime(options: ContainerRuntimeOptions): Runtime {
  return new ContainerRuntime(options);
}

/**
 * One epoch of a workload on the host:
 *
 *   nothing -> prepared (record, layers, writable layer, namespaces, nics, root mount)
 *           -> running (bundle, container, monitor) -> ended (exit recorded; parts kept for a restart in this epoch)
 *           -> stopped (parts released; the next start makes them again) -> removed (nothing left but the volume)
 */
class ContainerRuntime implements Runtime {
  readonly name = 'oci';
  readonly isolations = ['container'] as const;

  private readonly parts: HostParts;
  private readonly records: RecordStore;
  private readonly execs: Execs;
  private readonly copies = new Copies();
  private readonly ranges: UidRanges;
  private readonly locks = new KeyedLock();
  private readonly hub: ObservationHub;
  private readonly stock: Inventory;
  readonly layers: WritableLayers;
  /** Whose look has not begun. */
  private readonly waiting = new Set<string>();
  /** Layers that nothing can be written to any more, when that was looked at last. */
  private ended: ReadonlySet<VolumeId> = new Set();
  private launching = 0;
  private launched: { launcher: Launcher; runs: Runs } | null = null;

  constructor(private readonly options: ContainerRuntimeOptions) {
    this.parts = new HostParts(options);
    this.records = new RecordStore(options.stateDir);
    this.execs = new Execs(this.parts);
    this.ranges = new UidRanges(join(options.stateDir, 'uid-ranges.json'));
    this.stock = new Inventory(options, this.parts.cgroupParent);
    this.hub = new ObservationHub((signal) => this.watchExits(signal));
    this.layers = new WritableLayers({
      parts: this.parts,
      records: this.records,
      ranges: this.ranges,
      open: async (id) => (await this.parts.writableLayer({ rootVolume: { id, sizeMiB: 1 } })).upper,
      close: (volumeId) => this.options.volumes.closeLayer(volumeId),
      layers: (image, signal) => this.unpacked(image, signal),
      alone: (key, work) => this.alone(key, work),
      use: () => this.use,
    });
  }

  probe(): Promise<RuntimeProbe> {
    return this.locks.run('probe', () =>
      probe(this.options, [
        ...FACETS,
        ...(initIsThere(this.options.initProgram) ? ['init'] : []),
        ...(cgroup2There() ? [systemFacet] : []),
        ...(this.options.lxcfs === true && lxcfsMissing() === null ? ['lxcfs'] : []),
      ]),
    );
  }

  prepare(spec: WorkloadSpec, ctx: StepContext): Promise<void> {
    return this.alone(spec, async () => {
      ctx.signal.throwIfAborted();
      await this.records.epochCheck(spec);
      const image = ociImage(spec);
      const layers = await this.unpacked(image, ctx.signal);
      await faultPoint('oci.layers.unpacked', spec.instanceId);
      planOf(spec, image); // refuses what cannot be run before anything is made
      passable(this.parts.roots);
      await this.releaseOlder(spec);
      await this.parts.writableLayer(spec); // where there is no room for it nothing else is made
      await this.records.epochRaise(spec, spec.rootVolume.id);
      const known = await this.records.read(spec);
      const uidBase = await this.ranges.ensure(spec.rootVolume.id);
      await this.records.write({
        ...recordOf(spec, image, uidBase),
        ...(known === null ? {} : runOf(known)),
      });
      await faultPoint('oci.prepare.recorded', spec.instanceId);
      try {
        if (known === null || !this.use.runs.alive(known)) await this.realise(spec, layers, ctx.watch);
      } catch (error) {
        if (known === null) {
          await this.release(spec, spec.rootVolume.id);
          await this.records.remove(spec);
        }
        throw error;
      }
    });
  }

  start(spec: WorkloadSpec, ctx: StepContext): Promise<void> {
    return this.alone(spec, async () => {
      ctx.signal.throwIfAborted();
      await this.records.epochCheck(spec);
      const found = await this.records.read(spec);
      if (found === null) throw new RuntimeError('notPrepared', `${workloadId(spec)} was not prepared`);
      const record = await this.use.runs.settle(found);
      if (this.use.runs.alive(record) && (await this.finishStart(record))) return;
      await this.use.runs.monitorGone(record);
      await this.mountAnew(record);
      const image = ociImage(spec);
      const layers = await this.unpacked(image, ctx.signal);
      const base = await this.realise(spec, layers, ctx.watch);
      this.launching += 1;
      try {
        await timed(ctx.watch, 'bundle', () => this.parts.bundleWrite(spec, image, base, layers));
        await faultPoint('oci.bundle.written', spec.instanceId);
        this.publish(
          await timed(ctx.watch, 'launch', () => this.use.runs.launch(record, inputOf(spec), ctx.signal)),
        );
      } finally {
        this.launching -= 1;
      }
    });
  }

  stop(key: WorkloadKey, graceSeconds: number, ctx: StepContext): Promise<void> {
    return this.alone(key, async () => {
      const record = await this.records.read(key);
      if (record === null) return this.endUnknown(key, null);
      const ended = await this.use.runs.end(record, graceSeconds, ctx);
      await this.use.runs.monitorGone(ended);
      await this.endUnknown(key, record.volumeId); // also what an interrupted start left, which the record does not tell of
      await faultPoint('oci.stopped', key.instanceId);
      this.publish(ended);
    });
  }

  remove(key: WorkloadKey, ctx: StepContext): Promise<void> {
    return this.alone(key, async () => {
      const id = workloadId(key);
      const record = await this.records.read(key);
      if (record !== null) await this.use.runs.monitorGone(await this.use.runs.end(record, 0, ctx));
      await this.endUnknown(key, record?.volumeId ?? null);
      await faultPoint('oci.cleared', key.instanceId);
      await this.parts.releaseNetworks(record?.networkIds ?? []);
      await faultPoint('oci.networks.released', key.instanceId);
      if (this.launching === 0) cgroupRemoveEmpty(this.parts.cgroupParent);
      for (const suffix of ['', '.tmp']) rmSync(this.parts.paths(key).log + suffix, { force: true });
      await faultPoint('oci.log.removed', key.instanceId);
      await this.records.remove(key); // last: while it stands, an interrupted removal is found again
      await faultPoint('oci.record.removed', key.instanceId);
      this.hub.forget(id);
    });
  }

  async removeVolume(volumeId: VolumeId, ctx: StepContext): Promise<void> {
    ctx.signal.throwIfAborted();
    for (const record of await this.records.list()) {
      if (record.volumeId !== volumeId && !this.parts.volumesOf(record).includes(volumeId)) continue;
      await this.alone(record, async () => {
        if (this.use.runs.alive(await this.use.runs.settle(record)))
          throw new RuntimeError('hostFault', `volume ${volumeId} is in use by ${workloadId(record)}`, {
            remedy: 'stop it first',
          });
        await this.release(record, record.volumeId);
      });
    }
    await this.options.volumes.remove(volumeId);
    await faultPoint('oci.volume.removed', volumeId);
    await this.ranges.release(volumeId);
    await this.records.epochForget(volumeId);
  }

  observe(signal: AbortSignal): AsyncIterable<Observation> {
    return this.hub.subscribe(signal);
  }

  async recover(): Promise<Observation[]> {
    const seen = new Map<string, Observation>();
    this.ended = this.options.volumes.endedLayers();
    for (const record of await this.records.list()) {
      if (record.run !== null && this.use.runs.alive(record))
        await this.execs.sweep(record, record.run.init.pid);
      seen.set(workloadId(record), this.observed(await this.settle(record)));
    }
    for (const found of await this.use.launcher.list()) {
      const key = workloadKey(found.id);
      if (key === null) continue;
      if (found.status === 'created' && seen.has(found.id)) {
        seen.set(found.id, await this.startInterrupted(key));
        continue;
      }
      if (seen.get(found.id)?.phase === 'running') continue;
      const observed = seen.get(found.id);
      if (observed !== undefined && found.pid === null) continue; // a container that waits for its deletion
      // A record without this run, or none at all: a lost state directory. It is reported as it is; a start or a
      // removal clears it.
      const power = cgroupFrozen(this.parts.paths(key).cgroup) ? 'paused' : 'running';
      seen.set(found.id, { ...key, phase: 'running', power, exit: null, pid: found.pid });
    }
    return [...seen.values()];
  }

  async inventory(): Promise<Held[]> {
    const { launcher, runs } = this.use;
    return this.stock.take(launcher, await this.records.list(), (record) => runs.alive(record));
  }

  readonly pause = (key: WorkloadKey, ctx: StepContext): Promise<void> => this.freeze(key, true, ctx);
  readonly resume = (key: WorkloadKey, ctx: StepContext): Promise<void> => this.freeze(key, false, ctx);

  readonly update = (spec: WorkloadSpec, ctx: StepContext): Promise<WorkloadHas> =>
    this.alone(spec, async () => {
      ctx.signal.throwIfAborted();
      await this.live(spec);
      const { sizeMiB } = await this.parts.writableLayer(spec);
      const { cgroup } = this.parts.paths(spec);
      const layers = boundsDisks(spec) ? await this.unpacked(ociImage(spec), ctx.signal) : [];
      const { sizes, unsettled } = await liveSizes(cgroup, spec, await this.parts.limits(spec, layers));
      this.parts.secretsBring(spec, await this.ranges.ensure(spec.rootVolume.id));
      await faultPoint('oci.sizes.changed', spec.instanceId);
      const root = { id: spec.rootVolume.id, sizeMiB: Math.min(sizeMiB, spec.rootVolume.sizeMiB) };
      const mounted = await this.parts.volumesSeen(spec);
      const volumes = [root, ...mounted];
      return { volumes, sizes, unsettled: [...unsettled, ...layersUnsettled(spec, volumes)] };
    });

  readonly logs = (key: WorkloadKey, options: LogOptions, signal: AbortSignal): AsyncIterable<Uint8Array> =>
    logRead(this.parts.paths(key).log, options, signal);

  readonly exec = (key: WorkloadKey, open: ExecOpen, signal: AbortSignal): Promise<Terminal> =>
    this.alone(key, async () => {
      signal.throwIfAborted();
      const id = workloadId(key);
      const record = await this.live(key);
      if (cgroupFrozen(this.parts.paths(key).cgroup))
        throw new RuntimeError('notPrepared', `${id} is paused`, { remedy: 'resume it first' });
      const end = async (): Promise<ExitInfo | null> =>
        (await this.use.runs.endingWith(record)) ? (await this.settle(record)).exit : null;
      return this.execs.begin(key, open, this.use.launcher, end, signal);
    });

  readonly attach = (key: WorkloadKey, open: AttachOpen, signal: AbortSignal): Promise<Terminal> =>
    this.alone(key, async () => {
      signal.throwIfAborted();
      const record = await this.live(key);
      const input = await this.parts.input(key);
      if (input === 'none' && !open.readOnly)
        throw new RuntimeError('notPrepared', `${workloadId(key)} was started without an input`, {
          remedy: 'set process.stdin or process.tty and restart it, or attach read-only',
        });
      const { bundle, log } = this.parts.paths(key);
      const end = async (): Promise<ExitInfo | null> => (await this.settle(record)).exit;
      const run = {
        log,
        places: this.use.launcher.attachTo(bundle),
        input,
        alive: () => this.use.runs.alive(record),
        end,
      };
      return AttachTerminal.open(run, open, signal);
    });

  readonly processes = async (key: WorkloadKey): Promise<InstanceProcesses> => {
    const { base } = await this.running(key);
    return containerProcesses(this.parts.paths(key).cgroup, base, await this.parts.passwd(key));
  };

  readonly files: FilesFacet = {
    readFile: async (key, path, signal) => {
      const { init } = await this.running(key);
      // Until the last byte was read, or nobody reads any more.
      return new Promise((resolve, reject) => {
        this.copies
          .run(key.instanceId, signal, async (until) => {
            const file = await containerFileRead(init, path, until);
            resolve(file);
            await file.closed;
          })
          .catch(reject);
      });
    },
    writeFile: async (key, target, bytes, signal) => {
      const { init, base } = await this.running(key);
      return this.copies.run(key.instanceId, signal, (until) =>
        containerFileWrite(init, base, target, bytes, until),
      );
    },
  };

  readonly limits = async (key: WorkloadKey): Promise<EnforcedLimits> => {
    try {
      return await cgroupLimits(this.parts.paths(key).cgroup);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) throw new RuntimeError('notPrepared', `${workloadId(key)} does not run`);
      throw error;
    }
  };

  readonly usage = async (of?: WorkloadKey): Promise<(WorkloadKey & Usage)[]> => {
    const all: (WorkloadKey & Usage)[] = [];
    for (const [index, record] of (await this.records.list(of?.instanceId)).entries()) {
      await inPieces(index);
      const wanted = of === undefined || record.epoch === of.epoch;
      const usage = wanted && this.use.runs.alive(record) ? this.usageOf(record) : null;
      if (usage !== null) all.push(usage);
    }
    return all;
  };

  /** The record of one that runs. Callers hold its lock. @throws RuntimeError notPrepared */
  private async live(key: WorkloadKey): Promise<LiveRecord> {
    const record = await this.records.read(key);
    if (record !== null && this.use.runs.alive(record)) return record;
    throw new RuntimeError('notPrepared', `${workloadId(key)} does not run`);
  }

  /** First process of a container that runs, and the host's id of its root. @throws RuntimeError notPrepared */
  private running(key: WorkloadKey): Promise<{ readonly init: ProcessIdentity; readonly base: number }> {
    return this.alone(key, async () => {
      const { run, volumeId } = await this.live(key);
      return { init: run.init, base: await this.ranges.ensure(volumeId) };
    });
  }

  /** Null when it ended meanwhile. */
  private usageOf({ instanceId, epoch }: WorkloadKey): (WorkloadKey & Usage) | null {
    const { cgroup } = this.parts.paths({ instanceId, epoch });
    try {
      const { cpuMicros, memoryBytes, pids, oomKills } = cgroupUsage(cgroup);
      const block = cgroupBlockBytes(cgroup);
      const blockBytes = { blockReadBytes: block?.read ?? null, blockWriteBytes: block?.write ?? null };
      return { instanceId, epoch, cpuMicros, memoryBytes, pids, oomKills, ...blockBytes };
    } catch (error) {
      if (hasCode(error, 'ENOENT', 'ENODEV')) return null;
      throw error;
    }
  }

  /** The launcher is looked for at first use: a host without one can still say so in its probe. */
  private get use(): { launcher: Launcher; runs: Runs } {
    if (this.launched === null) {
      const launcher = launcherFind(this.options);
      this.launched = { launcher, runs: new Runs(launcher, this.records, this.parts) };
    }
    return this.launched;
  }

  private alone<T>(key: WorkloadKey, work: () => Promise<T>): Promise<T> {
    workloadId(key); // refuses a key that could name anything else on the host
    return this.locks.run(key.instanceId, work);
  }

  private async unpacked(image: OciImage, signal: AbortSignal): Promise<string[]> {
    if (image.layers.length === 0) throw new RuntimeError('badImage', 'the image has no layers');
    const directories: string[] = [];
    for (const layer of image.layers) directories.push(await this.layer(layer, signal));
    return directories;
  }

  private async layer(layer: OciImage['layers'][number], signal: AbortSignal): Promise<string> {
    try {
      return await this.options.layers.ensure(layer, signal);
    } catch (error) {
      throw layerFault(error);
    }
  }

  private async realise(spec: WorkloadSpec, layers: readonly string[], watch?: Stopwatch): Promise<number> {
    const base = await this.ranges.ensure(spec.rootVolume.id);
    await this.parts.realise(spec, layers, base, watch);
    return base;
  }

  /** Two mounts must never share a writable layer, and two epochs never an address. */
  private async releaseOlder(spec: WorkloadSpec): Promise<void> {
    for (const other of await this.records.list(spec.instanceId)) {
      if (other.epoch === spec.epoch) continue;
      const settled = await this.use.runs.settle(other);
      if (this.use.runs.alive(settled))
        throw new RuntimeError('hostFault', `epoch ${other.epoch} of this instance still runs`, {
          remedy: 'stop it first',
        });
      await this.use.runs.monitorGone(settled);
      await this.endUnknown(other, other.volumeId);
    }
  }

  /** A start that was interrupted between create and start is finished. False where it has to begin anew. */
  private async finishStart(record: LiveRecord): Promise<boolean> {
    const id = workloadId(record);
    if ((await this.use.launcher.status(id))?.status === 'created') {
      if (!this.use.runs.startable(record)) return false;
      await this.use.launcher.start(id, record.run.init);
    }
    this.publish(record);
    return true;
  }

  /**
   * The container of a start that an earlier life of ours did not finish waits and never runs by itself: a recorded
   * one with its monitor is started, any other goes, so that it is neither taken for a running one nor left over.
   */
  private startInterrupted(key: WorkloadKey): Promise<Observation> {
    return this.alone(key, async () => {
      const record = await this.records.read(key);
      if (record === null) throw new RuntimeError('hostFault', `the record of ${workloadId(key)} went away`);
      const { runs } = this.use;
      const alive = runs.alive(record);
      if (alive && (await this.finishStart(record))) return runs.observation(record);
      await this.use.launcher.delete(workloadId(key));
      const { cgroup, monitorCgroup } = this.parts.paths(key);
      await cgroupKill(cgroup);
      await cgroupKill(monitorCgroup);
      if (!alive) return runs.observation(record);
      const next = { ...record, run: null };
      await this.records.write(next);
      return runs.observation(next);
    });
  }

  /** Ends and clears whatever stands on the host under this key, with or without a record. */
  private async endUnknown(key: WorkloadKey, volumeId: VolumeId | null): Promise<void> {
    await this.use.launcher.delete(workloadId(key));
    const { cgroup, monitorCgroup } = this.parts.paths(key);
    await cgroupKill(cgroup);
    await cgroupKill(monitorCgroup);
    await this.release(key, volumeId);
  }

  /** Nothing of ours holds its mounts any more. */
  private async release(key: WorkloadKey, volumeId: VolumeId | null): Promise<void> {
    await this.copies.end(key.instanceId);
    await this.parts.release(key, volumeId);
  }

  private freeze(key: WorkloadKey, frozen: boolean, ctx: StepContext): Promise<void> {
    return this.alone(key, async () => {
      ctx.signal.throwIfAborted();
      const record = await this.live(key);
      const id = workloadId(key);
      // What is frozen to be read stays as it is wanted now when that is over.
      this.layers.wanted(key);
      if (cgroupFrozen(this.parts.paths(key).cgroup) !== frozen)
        await (frozen ? this.use.launcher.pause(id) : this.use.launcher.resume(id));
      this.publish(record);
    });
  }

  private publish(record: WorkloadRecord): void {
    this.hub.publish(this.observed(record));
  }

  private observed(record: WorkloadRecord): Observation {
    const seen = this.layers.unfrozen(this.use.runs.observation(record));
    if (this.ended.size === 0 || seen.phase !== 'running') return seen;
    const more = endedConditions(this.ended, record.volumeId, this.parts.volumesOf(record));
    return more.length === 0 ? seen : { ...seen, conditions: [...(seen.conditions ?? []), ...more] };
  }

  /** What a run before it left without a file system that takes writes gets one, if there is room now. */
  private async mountAnew(record: WorkloadRecord): Promise<void> {
    if (record.exit === null) return;
    this.ended = this.options.volumes.endedLayers();
    if (endedConditions(this.ended, record.volumeId, this.parts.volumesOf(record)).length === 0) return;
    await this.copies.end(record.instanceId);
    await this.parts.unmount(record, record.volumeId);
    this.ended = this.options.volumes.endedLayers();
  }

  /** Under the lock only when there is something to settle. */
  private settle(record: WorkloadRecord): Promise<WorkloadRecord> {
    if (record.run === null || record.exit !== null || this.use.runs.alive(record))
      return Promise.resolve(record);
    return this.alone(record, async () => {
      const now = await this.records.read(record);
      return now === null ? record : this.use.runs.settle(now);
    });
  }

  /** Says it in its turn: what was read earlier is never said after what was read later. One that waits for its turn looks for all. */
  private look(key: WorkloadKey): Promise<void> {
    const id = workloadId(key);
    if (this.waiting.has(id)) return Promise.resolve();
    this.waiting.add(id);
    return this.alone(key, async () => {
      this.waiting.delete(id);
      const record = await this.records.read(key);
      if (record !== null) this.publish(await this.use.runs.settle(record));
    });
  }

  private watchExits(signal: AbortSignal): void {
    const resync = async (): Promise<void> => {
      void this.parts.lxcfs.look().catch(() => undefined);
      this.ended = this.options.volumes.endedLayers();
      for (const [index, key] of (await this.records.keys()).entries()) {
        await inPieces(index);
        if (signal.aborted) return;
        void this.look(key).catch(() => undefined); // the next round, or the next event, tries again
      }
    };
    const watcher = watch(this.use.launcher.exitDirectory, (_, name) => {
      const key = name === null ? null : workloadKey(name);
      if (key === null) return;
      void this.look(key).catch(() => undefined);
    });
    watcher.on('error', () => undefined); // the timer goes on
    const timer = setInterval(() => void resync().catch(() => undefined), RESYNC_MS);
    signal.addEventListener('abort', () => {
      watcher.close();
      clearInterval(timer);
    });
  }
}

/** Between pieces of what is done for every workload, others have their turn. */
async function inPieces(index: number): Promise<void> {
  if (index % PIECE === PIECE - 1) await new Promise((resolve) => setImmediate(resolve));
}

/** A file system of another size than asked for is one that cannot grow while it is in use. */
function layersUnsettled(
  { rootVolume, mounts = [] }: WorkloadSpec,
  has: readonly VolumeSeen[],
): readonly Unsettled[] {
  const small = ({ id, sizeMiB }: { readonly id: VolumeId; readonly sizeMiB: number }): boolean =>
    has.some((one) => one.id === id && one.sizeMiB < sizeMiB);
  const why = 'without CAP_SYS_RESOURCE its host enlarges only what is not in use';
  return [
    ...(small(rootVolume) ? [{ field: 'rootDisk.sizeMiB' as const, why }] : []),
    ...(mounts.some(small) ? [{ field: 'volumes' as const, why }] : []),
  ];
}

function ociImage(spec: WorkloadSpec): OciImage {
  if (spec.image.kind === 'oci') return spec.image;
  throw new RuntimeError('badImage', 'a disk image cannot run as a container', {
    remedy: 'use an OCI image, or isolation vm',
  });
}

function recordOf(spec: WorkloadSpec, image: OciImage, uidBase: number): WorkloadRecord {
  return {
    version: 1,
    instanceId: spec.instanceId,
    epoch: spec.epoch,
    volumeId: spec.rootVolume.id,
    uidBase,
    networkIds: spec.networks.map((network) => network.id),
    ...mountPointsOf(spec),
    stopSignal: stopSignalOf(spec, image),
    run: null,
    stop: null,
    exit: null,
  };
}

function mountPointsOf({ secrets, mounts = [] }: WorkloadSpec): Pick<WorkloadRecord, 'mountPoints'> {
  const { files, directories } = secretMountPoints(secrets);
  // With the directory above, which an image need not have.
  const points = [
    ...files,
    ...directories.flatMap((path) => [dirname(path), path]),
    ...mounts.map(({ path }) => path),
  ];
  return points.length === 0 ? {} : { mountPoints: points };
}

function runOf(record: WorkloadRecord): Pick<WorkloadRecord, 'run' | 'stop' | 'exit'> {
  return { run: record.run, stop: record.stop, exit: record.exit };
}
