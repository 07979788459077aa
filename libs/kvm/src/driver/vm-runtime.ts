import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { faultPoint } from '@berth/faults';
import { bootId } from '@berth/linux';
import { storageErrorType } from '@berth/model';
import type {
  CdromSeen,
  CloudInitSeed,
  ConsoleOpen,
  ExportedFile,
  InstanceProcesses,
  Isolation,
  KeyPress,
  Usage,
  VolumeId,
} from '@berth/model';
import {
  HeldParts,
  RuntimeError,
  type EnforcedLimits,
  type Held,
  type LogOptions,
  type Observation,
  type Runtime,
  type RuntimeProbe,
  type StepContext,
  type Terminal,
  timed,
  type WorkloadHas,
  type WorkloadKey,
  type WorkloadSpec,
  KeyedLock,
  keyText,
  type VolumeCloning,
  type VolumeExporting,
} from '@berth/runtime';
import { guestProcesses } from '../guest/guest-processes.js';
import { accelChoice } from '../accel/accel-choice.js';
import { AccelProbe } from '../accel/accel-probe.js';
import { ConsoleTerminal } from './console-terminal.js';
import { Displays } from './displays.js';
import { GuestAgents } from './guest-agents.js';
import { runningOf, runningOn, StartRefused, type Machine, type MachineDriver } from './machine-driver.js';
import { HostChoices } from './host-choices.js';
import { MemoryImages } from './memory-images.js';
import { attachedCdroms, cdromsSeen } from './attached-cdroms.js';
import { LiveCdroms } from './live-cdroms.js';
import { LiveNics } from './live-nics.js';
import { LiveSizes } from './live-sizes.js';
import { LiveVolumes } from './live-volumes.js';
import { QmpTransportError } from '../qmp/commands.js';
import { endAmong, ObservationHub } from './observation-hub.js';
import { machinesUsage } from './machines-usage.js';
import type { VmRuntimeOptions } from './ports.js';
import { askToEnd } from './power-button.js';
import { PowerWishes } from './power-wishes.js';
import { Preparation, type MachinePreparation } from './preparation.js';
import { refuseUsed } from './qemu-process.js';
import { watchedTerminal } from './run-end.js';
import { SerialLines } from './serial-lines.js';
import { SerialLogs } from './serial-log.js';
import { adoptedRecord, Settlement } from './settlement.js';
import { guard, hostFaults } from './step-bounds.js';
import { probeOf } from './vm-probe.js';
import { poolFaults } from './volume-disks.js';
import { vncRefusal } from './vnc-support.js';
import { refuseTpmLost, TpmWatch } from '../tpm/tpm-watch.js';
import { Snapshots } from './snapshots.js';
import { answersOfProcess, type QemuAnswers } from '../accel/qemu-answers.js';
import { StorageWatch } from './storage-watch.js';
import { isSuspended, refuseSuspended, Suspension, type SuspendedRecord } from './suspension.js';
import { WorkloadRecords, type WorkloadRecord } from './workload-record.js';

/** A look that failed is repeated so late: its driver may be away for a moment, or a call took too long. */
const LOOK_AGAIN_MS = 1_000;

/** Longest wait for QEMU's word on what is in its drives, ms. */
const DRIVES_MS = 2_000;

/** An export is read in pieces of so many bytes. */
const READ_BYTES = 2 ** 18;

const stopFirst = { remedy: 'stop the instance first' } as const;

type TerminalArguments = Parameters<typeof watchedTerminal> extends [unknown, ...infer A] ? A : never;

/**
 * Virtual machines of one driver. What was asked and how runs ended is written to records before acting; disks, seeds,
 * taps and logs are the same under every driver. Machines live on without this object: it may come and go.
 */
export class VmRuntime<M extends Machine> implements Runtime {
  readonly isolations: readonly Isolation[] = ['vm'];
  readonly #accel: AccelProbe;
  readonly #choices: HostChoices;
  readonly #qemu: QemuAnswers;
  readonly #records: WorkloadRecords;
  readonly #logs: SerialLogs;
  readonly #preparation: MachinePreparation;
  readonly #suspension: Suspension<M>;
  readonly #settlement: Settlement<M>;
  readonly #wishes: PowerWishes<M>;
  readonly #volumes: LiveVolumes<M>;
  readonly #sizes: LiveSizes<M>;
  readonly #nics: LiveNics<M>;
  readonly #cdroms: LiveCdroms<M>;
  /** Machines known to have CD-ROM drives: others are not asked what is in them. */
  readonly #withDrives = new Set<string>();
  readonly #locks = new KeyedLock();
  readonly #hub = new ObservationHub();
  readonly #storage: StorageWatch;
  readonly #tpms: TpmWatch<M>;
  readonly guest: GuestAgents;
  readonly snapshots: Snapshots<M>;
  readonly #lines: SerialLines;
  readonly #displays: Displays<M>;
  /** What could not be looked at, and is looked at again. */
  readonly #again = new Map<string, NodeJS.Timeout>();
  #closed = false;

  constructor(
    protected readonly driver: MachineDriver<M>,
    protected readonly options: VmRuntimeOptions,
    prepares: (records: WorkloadRecords, logs: SerialLogs, choices: HostChoices) => MachinePreparation = (
      records,
      logs,
      choices,
    ) => new Preparation(options, records, logs, driver.name, choices),
  ) {
    this.#accel = options.accel ?? new AccelProbe(join(options.stateDir, 'accel.json'));
    this.#choices = options.choices ?? new HostChoices(options.stateDir);
    this.#qemu = options.qemu ?? answersOfProcess;
    this.#records = new WorkloadRecords(options.stateDir);
    this.#logs = new SerialLogs(options.logDir);
    this.#preparation = prepares(this.#records, this.#logs, this.#choices);
    this.#volumes = new LiveVolumes(driver, this.#preparation.disks);
    this.#sizes = new LiveSizes(driver, (...came) => this.guest.processorsCame(...came));
    this.#nics = new LiveNics(driver, options.network);
    this.#cdroms = new LiveCdroms(driver, options);
    this.#lines = new SerialLines(async (key) => driver.serial(await this.running(key)));
    const now = options.now ?? (() => new Date());
    const images = new MemoryImages(options.volumes);
    this.#suspension = new Suspension(driver, this.#records, images, this.#preparation, options.network, now);
    this.#tpms = new TpmWatch(
      (machine) => driver.tpm(machine),
      (key) => this.#notice(key),
    );
    this.#settlement = new Settlement(driver, this.#records, this.#suspension, this.#tpms, now);
    this.#wishes = new PowerWishes(driver, this.#records, this.#suspension, this.#settlement, this.#tpms);
    this.#displays = new Displays(driver, (key) => this.running(key));
    this.#storage = new StorageWatch({
      freeMiB: () => options.volumes.freeMiB(),
      goOn: async (key, ctx) => {
        await this.#locks.run(key.instanceId, () => this.#wishes.goOn(key, ctx));
        this.#notice(key);
      },
    });
    this.guest = new GuestAgents({
      transport: async (key) => {
        const machine = await hostFaults(() => this.running(key));
        return machine.agentPort ? driver.agent(machine) : null;
      },
      ended: (key, signal) => endAmong(this.observe(signal), key),
      changed: (key) => this.#notice(key),
      freezing: {
        records: this.#records,
        running: (key) => hostFaults(() => this.#wishes.recordOfRunning(key)),
        locked: (key, work) => this.#locks.run(key.instanceId, work),
        now,
      },
    });
    this.snapshots = new Snapshots({
      driver,
      workloads: this.#records,
      volumes: options.volumes,
      images,
      network: options.network,
      stirred: (key) => this.#wishes.stirred(key),
      settlement: this.#settlement,
      freezes: this.guest.freezes,
      tpms: this.#tpms,
      answers: (key) => this.guest.conditions(key).length > 0,
      locked: (key, work) => this.#locks.run(key.instanceId, work),
      now,
    });
    driver.listen({
      noticed: (key) => this.#notice(key),
      expired: (key) =>
        void this.#locks
          .run(key.instanceId, () => this.#wishes.expired(key, now()))
          .finally(() => this.#notice(key))
          .catch(() => undefined),
      resync: () => this.#resync(),
    });
  }

  get name(): string {
    return this.driver.name;
  }

  /** Ends connections; resolves when nothing is written any more. Every machine runs on. */
  async close(): Promise<void> {
    for (const timer of this.#again.values()) clearTimeout(timer);
    this.#closed = true;
    this.#accel.close();
    this.#storage.close();
    this.#tpms.close();
    this.guest.close();
    this.#lines.close();
    this.driver.close();
    await this.#locks.idle();
    await this.#displays.idle();
  }

  probe(): Promise<RuntimeProbe> {
    return probeOf(this.driver, this.#accel, this.#choices, this.#qemu);
  }

  async prepare(spec: WorkloadSpec, ctx: StepContext): Promise<void> {
    this.#preparation.check(spec);
    await this.#locks.run(spec.instanceId, async () => {
      await this.#refuseLowerEpoch(spec);
      const runs = async (): Promise<boolean> => runningOf(await this.driver.find(spec, ctx.signal)) !== null;
      await this.#preparation.prepare(spec, runs, ctx);
    });
  }

  async start(spec: WorkloadSpec, ctx: StepContext): Promise<void> {
    this.#preparation.check(spec);
    await this.#locks.run(spec.instanceId, () =>
      hostFaults(async () => {
        await this.#refuseLowerEpoch(spec);
        const machine = await this.driver.find(spec, ctx.signal);
        const running = runningOf(machine);
        if (running === null || running.epoch === spec.epoch) {
          const suspended = await this.#settlement.settle(spec, machine);
          if (isSuspended(suspended)) return this.#restore(spec, suspended, ctx);
        }
        if (running?.epoch === spec.epoch) return;
        if (running !== null)
          throw new RuntimeError('hostFault', `epoch ${running.epoch} of this instance still runs`);
        if (machine !== null && machine.epoch !== spec.epoch) {
          // An older epoch's traces stand in the way. Its end is written down first.
          await this.#settlement.settle(machine, machine);
          await this.driver.clear(machine, ctx);
        }
        const record = await this.#settlement.settle(spec, machine);
        if (record === null) throw new RuntimeError('notPrepared', 'prepare comes before start');
        await this.#run(spec, record, ctx);
      }),
    );
  }

  async stop(key: WorkloadKey, graceSeconds: number, ctx: StepContext): Promise<void> {
    await hostFaults(async () => {
      const asked = await this.#intend(key, graceSeconds > 0 ? 'stop' : 'kill', ctx);
      if (asked === null) return;
      const { machine, intent } = asked;
      await faultPoint('vm.stop.recorded', key.instanceId);
      if (intent === 'stop') await this.guest.freezes.release(key);
      const isOff = async (): Promise<boolean> => (await this.#settled(machine))?.phase === 'ended';
      const asking = {
        press: this.guest.asker(key, () => this.driver.press(machine)),
        resume: () => this.driver.resume(machine, ctx),
      };
      if (intent === 'stop' && (await askToEnd(asking, this.#hub, machine, graceSeconds, ctx, isOff))) return;
      guard(ctx);
      if ((await this.#intend(key, 'kill', ctx)) === null) return;
      await faultPoint('vm.kill.recorded', key.instanceId);
      await this.driver.destroy(machine, ctx);
      await faultPoint('vm.destroyed', key.instanceId);
      await this.#settled(key);
    });
  }

  async remove(key: WorkloadKey, ctx: StepContext): Promise<void> {
    await this.#locks.run(key.instanceId, () =>
      hostFaults(async () => {
        await this.driver.clear(key, ctx);
        await faultPoint('vm.cleared', key.instanceId);
        await this.options.network.detach(key);
        await faultPoint('vm.nics.detached', key.instanceId);
        await this.#logs.remove(key);
        await faultPoint('vm.log.removed', key.instanceId);
        await this.#suspension.removed(key);
        await this.#choices.release(key);
        await this.#records.remove(key);
        this.#storage.forget(key);
        this.#tpms.forget(key);
        this.guest.forget(key);
        this.guest.freezes.forget(key);
        this.#lines.forget(key);
        this.#withDrives.delete(keyText(key));
      }),
    );
  }

  async removeVolume(volumeId: VolumeId, ctx: StepContext): Promise<void> {
    await hostFaults(async () => {
      await refuseUsed(volumeId, stopFirst);
      guard(ctx);
      await this.options.volumes.remove(volumeId);
      await faultPoint('vm.volume.removed', volumeId);
      await this.driver.volumeGone(volumeId);
    });
  }

  async cloneVolume({ progress, ...clone }: VolumeCloning, ctx: StepContext): Promise<void> {
    const { volumes } = this.options;
    await this.#refuseUnmade(clone.sourceId);
    await refuseUsed(clone.sourceId, stopFirst);
    await faultPoint('vm.clone.begun', clone.volumeId);
    await poolFaults(`volume ${clone.volumeId}`, () =>
      volumes.cloneDataDisk({ ...clone, progress, signal: ctx.signal }),
    );
  }

  async exportVolume({ snapshotId, ...order }: VolumeExporting, ctx: StepContext): Promise<ExportedFile> {
    await this.#refuseUnmade(order.sourceId);
    if (snapshotId === undefined) await refuseUsed(order.sourceId, stopFirst);
    await faultPoint('vm.export.begun', order.volumeId);
    return poolFaults(`export ${order.volumeId}`, () =>
      this.options.volumes.exportDataDisk({ ...order, snapshot: snapshotId, signal: ctx.signal }),
    );
  }

  async readExport(
    volumeId: VolumeId,
    from: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    const file = await this.options.volumes.exportedFile(volumeId);
    if (file === null) throw new RuntimeError('noSuchFile', `no export ${volumeId} is on this host`);
    const handle = await open(file.path, constants.O_RDONLY | constants.O_NOFOLLOW);
    return handle.createReadStream({ start: from, highWaterMark: READ_BYTES, signal });
  }

  /** @throws RuntimeError notPrepared */
  async #refuseUnmade(volumeId: VolumeId): Promise<void> {
    if ((await this.options.volumes.stat(volumeId)) !== null) return;
    throw new RuntimeError('notPrepared', `volume ${volumeId} has no disk on this host yet`, {
      remedy: 'start an instance with it once, or create an empty volume',
    });
  }

  observe(signal: AbortSignal): AsyncIterable<Observation> {
    const observations = this.#hub.subscribe(signal);
    this.driver.watch();
    return observations;
  }

  async recover(): Promise<Observation[]> {
    return hostFaults(async () => {
      const seen = await Promise.all((await this.#settlement.known()).map((key) => this.#settled(key)));
      return seen.filter((o) => o !== null);
    });
  }

  async inventory(): Promise<Held[]> {
    return hostFaults(async () => {
      const held = new HeldParts();
      await this.driver.inventory(held);
      await this.#records.inventory(held);
      await this.#logs.inventory(held);
      for (const nic of await this.options.network.inventory())
        if (nic.kind === 'tap') held.part(nic, `link ${nic.ifname}`);
      return held.all();
    });
  }

  async pause(key: WorkloadKey, ctx: StepContext): Promise<void> {
    await this.#locks.run(key.instanceId, () => hostFaults(() => this.#wishes.pause(key, ctx)));
  }

  async resume(key: WorkloadKey, ctx: StepContext): Promise<void> {
    await this.#locks.run(key.instanceId, () => hostFaults(() => this.#wishes.resume(key, ctx)));
  }

  async reset(key: WorkloadKey, ctx: StepContext): Promise<void> {
    await this.#locks.run(key.instanceId, () => hostFaults(() => this.#wishes.reset(key, ctx)));
    this.#notice(key);
  }

  async update(spec: WorkloadSpec, ctx: StepContext): Promise<WorkloadHas> {
    return this.#locks.run(spec.instanceId, () =>
      hostFaults(async () => {
        const machine = await this.driver.find(spec, ctx.signal);
        refuseSuspended(await this.#settlement.settle(spec, machine));
        const running = runningOn(spec, machine);
        const sizes = await this.#sizes.update(running, spec, ctx);
        const volumes = await this.#volumes.update(running, spec, ctx);
        // Last: a guest is waited for, and nothing else is to wait for it.
        const cdroms = await this.#cdroms.update(running, spec, ctx);
        if (cdroms.cdroms.length > 0) this.#withDrives.add(keyText(spec));
        const nics = await this.#nics.update(running, spec, ctx);
        const unsettled = [...sizes.unsettled, ...cdroms.unsettled, ...nics.unsettled];
        return { ...sizes, volumes, nics: nics.nics, cdroms: cdroms.cdroms, unsettled };
      }),
    );
  }

  async suspend(spec: WorkloadSpec, ctx: StepContext): Promise<void> {
    await this.#locks.run(spec.instanceId, () =>
      hostFaults(async () => {
        const machine = await this.#wishes.calm(spec, ctx);
        const record = await this.#settlement.settle(spec, machine);
        if (isSuspended(record)) return;
        const running = runningOn(spec, machine);
        refuseTpmLost(await this.#tpms.lost(running), 'its memory cannot be written');
        await this.#suspension.suspend(running, record ?? adoptedRecord(running), spec, ctx);
        this.#lines.forget(spec);
      }),
    );
    this.#notice(spec);
  }

  logs(key: WorkloadKey, options: LogOptions, signal: AbortSignal): AsyncIterable<Uint8Array> {
    return this.#logs.read(key, options, signal);
  }

  async console(key: WorkloadKey, open: ConsoleOpen, signal: AbortSignal): Promise<Terminal> {
    return this.#watched(key, signal, async (machineEnd) => {
      const line = await hostFaults(async () => {
        await this.running(key);
        return open.readOnly ? null : this.#lines.enter(key);
      });
      const bytes = (finish: AbortSignal, until: AbortSignal): AsyncIterable<Uint8Array> =>
        this.#logs.read(key, { follow: true, tailBytes: open.scrollbackBytes }, until, finish);
      return new ConsoleTerminal({ line, bytes, machineEnd }, signal);
    });
  }

  async display(key: WorkloadKey, signal: AbortSignal, head = 0): Promise<Terminal> {
    return this.#watched(key, signal, (machineEnd) => this.#displays.open(key, head, machineEnd, signal));
  }

  screenshot(key: WorkloadKey, signal: AbortSignal, head = 0): Promise<Uint8Array> {
    return this.#displays.screenshot(key, head, signal);
  }

  sendKeys(key: WorkloadKey, presses: readonly KeyPress[], signal: AbortSignal): Promise<void> {
    return this.#displays.sendKeys(key, presses, signal);
  }

  processes(key: WorkloadKey, signal: AbortSignal): Promise<InstanceProcesses> {
    return guestProcesses(this.guest, key, signal);
  }

  #watched(...args: TerminalArguments): Promise<Terminal> {
    return watchedTerminal((until) => this.observe(until), ...args);
  }

  seed(key: WorkloadKey): Promise<CloudInitSeed | null> {
    return this.#records.readSeed(key);
  }

  async limits(key: WorkloadKey): Promise<EnforcedLimits> {
    return hostFaults(async () => this.driver.limits(await this.running(key)));
  }

  usage(of?: WorkloadKey): Promise<(WorkloadKey & Usage)[]> {
    return hostFaults(() => machinesUsage(this.driver, of));
  }

  /** @throws RuntimeError notPrepared when it does not run. */
  protected async running(key: WorkloadKey): Promise<M> {
    return runningOn(key, await this.driver.find(key));
  }

  async #refuseLowerEpoch(key: WorkloadKey): Promise<void> {
    const machine = await hostFaults(() => this.driver.find(key));
    const epochs = [...(await this.#records.epochs(key.instanceId)), machine?.epoch ?? 0];
    const highest = Math.max(0, ...epochs);
    if (highest > key.epoch)
      throw new RuntimeError(
        'lowerEpoch',
        `epoch ${highest} of this instance was seen here, not taking ${key.epoch}`,
      );
  }

  /** Called with the lock held. */
  async #restore(spec: WorkloadSpec, record: SuspendedRecord, ctx: StepContext): Promise<void> {
    await this.snapshots.moveOn(spec.rootVolume.id);
    await this.#suspension.restore(spec, record, ctx);
  }

  /** Called with the lock held, when nothing of the instance runs. */
  async #run(spec: WorkloadSpec, before: WorkloadRecord, ctx: StepContext): Promise<void> {
    await this.snapshots.refuseReverting(spec.rootVolume.id);
    if ((spec.cdroms ?? []).length > 0) this.#withDrives.add(keyText(spec));
    const reverted = await this.snapshots.goOn(spec, before);
    if (reverted !== null) return this.#restore(spec, reverted, ctx);
    const account = await this.driver.account(spec.rootVolume.id);
    const accel = await accelChoice(this.#accel, spec.accel);
    const display = (await vncRefusal(this.#qemu)) === null;
    const machine = await this.#preparation.machine(spec, account, ctx.signal, {
      accel,
      display,
      scsi: true,
    });
    const starting: WorkloadRecord = {
      ...before,
      state: 'starting',
      intent: 'none',
      bootId: bootId(),
      paused: false,
      watchdog: spec.watchdog ?? null,
      cpuModel: spec.cpuModel ?? null,
      expiredAt: null,
      frozenUntil: null,
      stilled: false,
      exit: null,
      closed: false,
    };
    await this.#records.write(starting);
    await faultPoint('vm.start.recorded', spec.instanceId);
    try {
      await timed(ctx.watch, 'launch', () => this.driver.launch(machine, account, ctx));
    } catch (error) {
      if (error instanceof StartRefused) await this.#settlement.refused(starting, error.reason);
      throw error;
    }
    await faultPoint('vm.launched', spec.instanceId);
    await this.#records.write({ ...starting, state: 'started' });
    await faultPoint('vm.started.recorded', spec.instanceId);
  }

  /**
   * Writes down what we are about to ask. A kill stays one: whoever begins anew does not grant the time of grace again.
   * Null when it does not run any more; its end is then written down.
   */
  #intend(
    key: WorkloadKey,
    wished: 'stop' | 'kill',
    ctx: StepContext,
  ): Promise<{ readonly machine: M; readonly intent: 'stop' | 'kill' } | null> {
    return this.#locks.run(key.instanceId, async () => {
      const machine = await this.#wishes.calm(key, ctx);
      const running = runningOf(machine);
      const known = await this.#settlement.settle(key, machine);
      if (isSuspended(known)) {
        await this.snapshots.moveOn(known.memory.volumeId);
        await this.#suspension.discard(known, ctx);
        return null;
      }
      if (running?.epoch !== key.epoch) {
        // A start that never came to run: there is nothing that could still end.
        if (known?.state === 'starting') await this.#records.write({ ...known, state: 'prepared' });
        return null;
      }
      const record = known ?? adoptedRecord(running);
      const intent = record.intent === 'kill' ? 'kill' : wished;
      await this.#records.write({ ...record, state: 'started', intent });
      return { machine: running, intent };
    });
  }

  /**
   * What is true of a workload now; its end is written down if that is new.
   * @param say gets it in its turn: what was seen earlier is never said after what was seen later
   */
  #settled(key: WorkloadKey, say?: (seen: Observation) => void): Promise<Observation | null> {
    return this.#locks.run(key.instanceId, async () => {
      const machine = await this.#wishes.stirred(key);
      const record = await this.#settlement.settle(key, machine);
      const known = await this.#settlement.observation(key, machine, record);
      this.guest.freezes.saw(key, record);
      this.guest.saw(key, machine?.epoch === key.epoch && machine.agentPort);
      const agent = known === null ? [] : this.guest.conditions(key);
      const conditions = [...(known?.conditions ?? []), ...agent];
      const told = known === null || agent.length === 0 ? known : { ...known, conditions };
      const drives = await this.#drives(key, machine);
      const chosen = { ...(await this.#choices.of(key)), ...(drives === null ? {} : { cdroms: drives }) };
      const seen = told === null ? null : { ...told, ...chosen };
      this.#storage.saw(
        key,
        (seen?.conditions ?? []).some((c) => c.type === storageErrorType),
      );
      if (runningOf(machine)?.epoch !== key.epoch) this.#tpms.forget(key);
      if (seen !== null) say?.(seen);
      return seen;
    });
  }

  /** What is in its drives; null of one that has none, or gives no answer: it is asked again when something happens to it. */
  async #drives(key: WorkloadKey, machine: M | null): Promise<CdromSeen[] | null> {
    const running = runningOf(machine);
    if (running === null || running.epoch !== key.epoch || !this.#withDrives.has(keyText(key))) return null;
    try {
      const qmp = await this.driver.monitor(running);
      return cdromsSeen(await attachedCdroms(qmp, { timeoutMs: DRIVES_MS }));
    } catch (error) {
      if (error instanceof QmpTransportError) return null;
      throw error;
    }
  }

  /** Something happened to it. */
  #notice({ instanceId, epoch }: WorkloadKey): void {
    const key = { instanceId, epoch };
    this.#settled(key, (seen) => this.#hub.publish(seen)).catch(() =>
      this.#later(keyText(key), () => this.#notice(key)),
    );
  }

  /** Anything may have happened. Each is said as soon as it was looked at: one that takes long holds up no other. */
  #resync(): void {
    this.#settlement.known().then(
      (keys) => keys.forEach((key) => this.#notice(key)),
      () => this.#later('', () => this.#resync()),
    );
  }

  #later(what: string, look: () => void): void {
    if (this.#closed || this.#again.has(what)) return;
    const due = (): void => {
      this.#again.delete(what);
      look();
    };
    this.#again.set(what, setTimeout(due, LOOK_AGAIN_MS).unref());
  }
}
