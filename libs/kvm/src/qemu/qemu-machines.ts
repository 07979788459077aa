import { chmod, chown, stat } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { faultPoint } from '@berth/faults';
import {
  cgroupAdd,
  cgroupCreate,
  cgroupKill,
  cgroupLimit,
  cgroupLimits,
  cgroupRemove,
  hasCode,
  isAlive,
  run,
  signalProcess,
} from '@berth/linux';
import { displaysMost, type NicId, type VolumeId, type VolumeLimits } from '@berth/model';
import {
  RuntimeError,
  type EnforcedLimits,
  type HeldParts,
  type StepContext,
  type WorkloadKey,
  KeyedLock,
} from '@berth/runtime';
import { z } from 'zod';
import { answersOfProcess } from '../accel/qemu-answers.js';
import type { AttachedVolume, PluggedVolume } from '../driver/attached-disks.js';
import type { AttachedNic } from '../driver/attached-nics.js';
import { displaySocket } from '../driver/display-socket.js';
import { vncSocket } from '../driver/epoch-files.js';
import { StartRefused, type MachineDriver, type MachineListener } from '../driver/machine-driver.js';
import { disksOfQemu, type MachineFigures } from '../driver/machine-figures.js';
import type { MemoryTarget } from '../driver/memory-images.js';
import type { VmRuntimeOptions } from '../driver/ports.js';
import { ownGroups } from '../driver/own-groups.js';
import type { Account } from '../driver/qemu-account.js';
import { serialInput, type SerialPort, serialSwap } from '../driver/serial-input.js';
import { callBounds, guard } from '../driver/step-bounds.js';
import {
  mostVcpus,
  PLUG_DEVICE,
  type MachineNic,
  type MachineSpec,
  type MachineVolume,
} from '../machine/machine-spec.js';
import type { QgaTransport } from '../qga/transport.js';
import type { QmpClient } from '../qmp/client.js';
import { QmpTransportError, type ExecuteOptions } from '../qmp/commands.js';
import { AgentSocket } from './agent-socket.js';
import { Attention } from './attention.js';
import { Balloons } from './balloons.js';
import { machineArguments } from './machine-arguments.js';
import { ROOT_NODE, SERIAL_CHARDEV } from './machine-parts.js';
import { changeMedium, openTray } from './cdrom-devices.js';
import { dropNetdev, plugNic, unplugNic } from './nic-devices.js';
import { bindProcess, bindVcpus } from './numa-arguments.js';
import { plugVcpus } from './vcpu-devices.js';
import { dropNodes, plug, throttle, unplug, volumeNode } from './volume-devices.js';
import { endProcess, launchQemu, type QemuChild } from './process.js';
import { QmpSessions } from './qmp-sessions.js';
import { RunFiles, type ProcessRecord } from './run-files.js';
import { MachineView, type QemuMachine } from './machine-view.js';
import { cancelSave, saveMemory } from './memory-stream.js';
import { livePower, quitReasons } from './run-state.js';
import { forgetRotation, openedFor, rotate } from './serial-rotation.js';
import { startTpm } from '../tpm/swtpm.js';
import { tpmSeen, type TpmSeen } from '../tpm/tpm-watch.js';
import { VmUids } from './vm-uids.js';

const MIB = 2 ** 20;
const PROGRAM = 'qemu-system-x86_64';
/** Threads of a QEMU beside its processors': its pool for disks has 64 at most, migration takes up to 255. */
const MAX_OTHER_THREADS = 512;
/** Between two looks at a QEMU that reads its memory. */
const LOADING_MS = 10;

/**
 * Machines whose QEMU we start ourselves. Each is a detached process of its own user, cgroup and session, found again
 * by its record, and talked to over QMP:
 *
 *   record (no process) -> spawned, stopped -> cgroup -> SIGCONT -> record (pid, start time, boot) -> QMP -> `cont`
 *
 * The cgroup accounts for memory and does not limit it: what QEMU takes beside its guest's memory depends on its devices
 * and load, and a limit that is met kills the guest.
 *
 * Whatever is interrupted before `cont` never ran its guest, and the next start sweeps it.
 */
export class QemuMachines implements MachineDriver<QemuMachine> {
  readonly name = 'qemu';
  readonly displaysMost = displaysMost;
  readonly #files: RunFiles;
  readonly #uids: VmUids;
  readonly #sessions: QmpSessions;
  readonly #attention: Attention;
  readonly #view: MachineView;
  /** Rotations of a log and connections to its port, one after another. */
  readonly #serialLocks = new KeyedLock();
  readonly #balloons = new Balloons();
  #listener: MachineListener | null = null;

  /** @param groups begins the names of its machines' cgroups, by which they are told from another driver's */
  constructor(
    private readonly options: Pick<VmRuntimeOptions, 'runDir' | 'stateDir' | 'hostTag' | 'qemu'>,
    private readonly groups = 'berth-qemu',
  ) {
    this.#files = new RunFiles(options.runDir);
    this.#uids = new VmUids(join(options.stateDir, 'vm-uids.json'));
    this.#sessions = new QmpSessions({
      event: (key, event) => {
        if (event.event === 'SHUTDOWN' && quitReasons.has(event.data.reason)) this.#view.toldToQuit(key);
        if (event.event === 'WATCHDOG' && event.data.action !== 'pause') this.#listener?.expired(key);
        else if (livePower.has(event.event)) this.#listener?.noticed(key);
      },
      closed: (key) => this.#attention.lost(key),
    });
    this.#view = new MachineView(this.#files, this.#sessions, (key, ms) => this.#attention.later(key, ms));
    this.#attention = new Attention({
      alive: async (key) => (await this.#view.process(key)).process !== null,
      reached: async (key) => (await this.#session(key)) !== null,
      gone: (key) => this.#listener?.noticed(key),
      tick: () => this.#rotateLogs(),
    });
  }

  async versions(): Promise<Record<string, string>> {
    const { qemu = answersOfProcess } = this.options;
    const answer = await qemu.once('version', z.string(), async () => {
      const { stdout } = await run(PROGRAM, ['--version']).catch((cause: Error) => {
        throw new RuntimeError('hostFault', `there is no QEMU here: ${cause.message}`, {
          cause,
          remedy: 'install the package qemu-system-x86',
        });
      });
      return stdout;
    });
    return { qemu: /version (\d+(?:\.\d+)+)/.exec(answer)?.[1] ?? 'unknown' };
  }

  listen(listener: MachineListener): void {
    this.#listener = listener;
  }

  watch(): void {
    this.#attention.watch();
    // Every machine gets a session, which is what tells of its changes.
    void this.list().catch(() => undefined);
  }

  close(): void {
    this.#attention.close();
    this.#sessions.close();
  }

  async account(volumeId: VolumeId): Promise<Account> {
    const uid = await this.#uids.ensure(volumeId);
    return { uid, gid: uid };
  }

  find({ instanceId }: Pick<WorkloadKey, 'instanceId'>): Promise<QemuMachine | null> {
    return this.#view.newest(instanceId);
  }

  list(): Promise<QemuMachine[]> {
    return this.#view.all();
  }

  async inventory(held: HeldParts): Promise<void> {
    await this.#files.inventory(held);
    for (const machine of await this.list()) {
      if (machine.process !== null) held.part(machine, `process ${machine.process.pid}`);
      if (machine.power !== null) held.runs(machine);
    }
    for (const { key, name } of await ownGroups(`${this.groups}.${this.options.hostTag}.`))
      held.part(key, `cgroup ${name}`);
  }

  pid(machine: QemuMachine): Promise<number | null> {
    return Promise.resolve(machine.process?.pid ?? null);
  }

  tpm(machine: QemuMachine): Promise<TpmSeen> {
    return tpmSeen(machine.process?.pid ?? null, this.#cgroup(machine));
  }

  async limits(machine: QemuMachine): Promise<EnforcedLimits> {
    const client = await this.#sessions.get(machine, this.#files.socketPath(machine));
    const memory = await client.execute('query-memory-size-summary');
    const { cpuMillis, pids } = await cgroupLimits(this.#cgroup(machine));
    const { 'base-memory': boot, 'plugged-memory': plugged = 0 } = memory;
    return { memoryBytes: boot + plugged, cpuMillis, pids };
  }

  async figures(machine: QemuMachine, bounds: ExecuteOptions): Promise<MachineFigures | null> {
    try {
      const client = await this.monitor(machine);
      const disks = disksOfQemu(await client.execute('query-blockstats', undefined, bounds));
      return { disks, guest: await this.#balloons.read(client, bounds) };
    } catch (error) {
      if (error instanceof QmpTransportError) return null;
      throw error;
    }
  }

  async launch(spec: MachineSpec, account: Account, ctx: StepContext): Promise<void> {
    await this.#launch(spec, account, null, ctx, (client) =>
      client.execute('cont', undefined, callBounds(ctx)),
    );
  }

  async save(machine: QemuMachine, target: MemoryTarget, ctx: StepContext): Promise<void> {
    const client = await this.monitor(machine);
    const { status } = await client.execute('query-status', undefined, callBounds(ctx));
    // An attempt before this one came to its end, but not to its record. QEMU moves no memory twice, unless it had it since.
    if (status === 'postmigrate') await client.execute('cont', undefined, callBounds(ctx));
    await client.execute('stop', undefined, callBounds(ctx));
    await this.copyMemory(machine, target, ctx);
  }

  async copyMemory(machine: QemuMachine, target: MemoryTarget, ctx: StepContext): Promise<void> {
    const client = await this.monitor(machine);
    const way = { socketPath: this.#files.memorySocket(machine), uid: machine.record.uid };
    await saveMemory(client, way, target, ctx);
  }

  async unsave(machine: QemuMachine): Promise<void> {
    await cancelSave(await this.monitor(machine));
  }

  async restore(spec: MachineSpec, account: Account, path: string, ctx: StepContext): Promise<void> {
    await this.#launch(spec, account, path, ctx, (client, child) => this.#loaded(client, child, ctx));
  }

  /** @param memory file with the memory of an earlier QEMU; null when it boots. @param go what makes it ready */
  async #launch(
    spec: MachineSpec,
    account: Account,
    memory: string | null,
    ctx: StepContext,
    go: (client: QmpClient, child: QemuChild) => Promise<unknown>,
  ): Promise<void> {
    await this.clear(spec);
    const at = (step: string) => faultPoint(`qemu.${step}`, spec.instanceId);
    try {
      await this.#giveFiles(spec, account);
      await at('files.given');
      const record = recordOf(spec, account);
      await this.#files.write(record);
      await at('recorded');
      await cgroupCreate(this.#cgroup(spec), {
        cpuMillis: spec.cpuMillis,
        pids: mostVcpus(spec) + MAX_OTHER_THREADS,
      });
      if (spec.tpm !== null) await startTpm(spec.tpm, account, this.#cgroup(spec));
      await at('cgroup.made');
      const child = await this.#spawn(spec, account, memory);
      this.#view.begun(spec, child.ended);
      await at('spawned');
      await cgroupAdd(this.#cgroup(spec), child.identity.pid).catch((error: unknown) => {
        // It ended already; why is what the greeting finds out.
        if (!hasCode(error, 'ESRCH')) throw error;
      });
      await at('confined');
      bindProcess(spec.numa, child.identity.pid);
      signalProcess(child.identity, 'SIGCONT');
      await this.#files.write({ ...record, process: child.identity });
      await at('pid.recorded');
      const client = await this.#greet(spec, child, ctx);
      await at('greeted');
      // Limits are no options of a device, so they are set before its guest runs.
      for (const { volumeId, limits } of spec.volumes)
        if (Object.keys(limits).length > 0) await throttle(client, volumeId, limits, callBounds(ctx));
      await bindVcpus(spec.numa, client, callBounds(ctx));
      await go(client, child);
      await at('continued');
    } catch (error) {
      await this.clear(spec);
      throw error;
    }
  }

  async serial(machine: QemuMachine): Promise<Socket> {
    const client = await this.monitor(machine);
    const { uid, serialLog } = machine.record;
    return this.#serialLocks.run(machine.instanceId, () =>
      serialInput(client, this.#serialPort(machine, serialLog), { uid, gid: uid }),
    );
  }

  #serialPort(key: WorkloadKey, out: string): SerialPort {
    return { chardev: SERIAL_CHARDEV, out, pipe: this.#files.serialPipe(key) };
  }

  agent(machine: QemuMachine): QgaTransport {
    return new AgentSocket(this.agentSocket(machine));
  }

  /** Where the agent in a guest, or our first process in it, is reached. */
  agentSocket(key: WorkloadKey): string {
    return this.#files.agentSocket(key);
  }

  display(machine: QemuMachine, head: number): Promise<Socket> {
    return displaySocket(vncSocket(this.options.runDir, machine, head), machine.record.uid, head);
  }

  async press(machine: QemuMachine): Promise<void> {
    await this.#ask(machine, 'system_powerdown');
  }

  async pause(machine: QemuMachine, ctx: StepContext): Promise<void> {
    await this.#ask(machine, 'stop', ctx);
  }

  async resume(machine: QemuMachine, ctx: StepContext): Promise<void> {
    await this.#ask(machine, 'cont', ctx);
  }

  async reset(machine: QemuMachine, ctx: StepContext): Promise<void> {
    await this.#ask(machine, 'system_reset', ctx);
  }

  async attach(machine: QemuMachine, volume: MachineVolume, ctx: StepContext): Promise<void> {
    await plug(await this.monitor(machine), volume, callBounds(ctx));
  }

  async detach(machine: QemuMachine, { volumeId }: AttachedVolume, ctx: StepContext): Promise<void> {
    await unplug(await this.monitor(machine), volumeId, callBounds(ctx));
  }

  async detached(machine: QemuMachine, { volumeId }: AttachedVolume, ctx: StepContext): Promise<void> {
    await dropNodes(await this.monitor(machine), volumeId, callBounds(ctx));
  }

  async plugNic(
    machine: QemuMachine,
    nic: MachineNic & { readonly port: number },
    ctx: StepContext,
  ): Promise<void> {
    await plugNic(await this.monitor(machine), nic, callBounds(ctx));
  }

  async unplugNic(machine: QemuMachine, { nicId }: AttachedNic, ctx: StepContext): Promise<void> {
    await unplugNic(await this.monitor(machine), nicId, callBounds(ctx));
  }

  async nicUnplugged(machine: QemuMachine, nicId: NicId, ctx: StepContext): Promise<void> {
    await dropNetdev(await this.monitor(machine), nicId, callBounds(ctx));
  }

  async openTray(machine: QemuMachine, drive: number, force: boolean, ctx: StepContext): Promise<void> {
    await openTray(await this.monitor(machine), drive, force, callBounds(ctx));
  }

  async changeMedium(
    machine: QemuMachine,
    drive: number,
    medium: string | null,
    ctx: StepContext,
  ): Promise<void> {
    await changeMedium(await this.monitor(machine), drive, medium, callBounds(ctx));
  }

  async resize(
    machine: QemuMachine,
    volume: PluggedVolume | null,
    sizeMiB: number,
    ctx: StepContext,
  ): Promise<void> {
    const client = await this.monitor(machine);
    const node = { 'node-name': volume === null ? ROOT_NODE : volumeNode(volume.volumeId) };
    await client.execute('block_resize', { ...node, size: sizeMiB * MIB }, callBounds(ctx));
  }

  async throttle(
    machine: QemuMachine,
    { volumeId }: PluggedVolume,
    limits: VolumeLimits,
    ctx: StepContext,
  ): Promise<void> {
    await throttle(await this.monitor(machine), volumeId, limits, callBounds(ctx));
  }

  async cap(machine: QemuMachine, cpuMillis: number | null): Promise<void> {
    await cgroupLimit(this.#cgroup(machine), { cpuMillis });
  }

  async plugVcpus(machine: QemuMachine, vcpus: number, ctx: StepContext): Promise<void> {
    await plugVcpus(await this.monitor(machine), vcpus, callBounds(ctx));
  }

  async plugMemory(machine: QemuMachine, requestedMiB: number, ctx: StepContext): Promise<void> {
    const client = await this.monitor(machine);
    const plug = { path: `/machine/peripheral/${PLUG_DEVICE}`, property: 'requested-size' };
    await client.execute('qom-set', { ...plug, value: requestedMiB * MIB }, callBounds(ctx));
  }

  async destroy(machine: QemuMachine): Promise<void> {
    if (machine.process !== null) await endProcess(machine.process);
  }

  async ended(key: WorkloadKey): Promise<void> {
    await this.clear(key);
  }

  async clear(key: WorkloadKey): Promise<void> {
    const { record, process: identity } = await this.#view.process(key);
    if (identity !== null) await endProcess(identity);
    await faultPoint('qemu.ended', key.instanceId);
    await cgroupKill(this.#cgroup(key));
    await cgroupRemove(this.#cgroup(key));
    await faultPoint('qemu.cgroup.removed', key.instanceId);
    if (record !== null) await forgetRotation(record.serialLog);
    await this.#files.remove(key);
    this.#view.forget(key);
  }

  async volumeGone(volumeId: VolumeId): Promise<void> {
    await this.#uids.release(volumeId);
  }

  /** QMP of a machine that runs. @throws QmpTransportError */
  monitor(machine: QemuMachine): Promise<QmpClient> {
    return this.#sessions.get(machine, this.#files.socketPath(machine));
  }

  /** Flat, below the root of each tree: nothing else has to be made or swept with it. */
  #cgroup(key: WorkloadKey): string {
    return `${this.groups}.${this.options.hostTag}.${key.instanceId}.${key.epoch}`;
  }

  /** Hands QEMU's user what it must open; the base is shared and stays root's. */
  async #giveFiles(spec: MachineSpec, { uid, gid }: Account): Promise<void> {
    await this.#files.prepare(spec, { uid, gid }, 1 + spec.moreDisplays.length);
    await chown(spec.disk.path, uid, gid);
    for (const { path } of spec.volumes) await chown(path, uid, gid);
    if (spec.firmware !== null) await chown(spec.firmware.variables, uid, gid);
    for (const path of [spec.seedPath, spec.direct?.config ?? null])
      if (path !== null) {
        await chown(path, uid, gid);
        await chmod(path, 0o400);
      }
    await openedFor(spec.serialLog, uid);
    await rotate(spec.serialLog, uid, () => Promise.resolve());
  }

  async #spawn(spec: MachineSpec, { uid }: Account, memory: string | null): Promise<QemuChild> {
    const memoryAt = 3 + spec.nics.length;
    const places = {
      qmpSocket: this.#files.socketPath(spec),
      agentSocket: this.#files.agentSocket(spec),
      exitFile: this.#files.exitPath(spec),
      tapDescriptors: spec.nics.map((_nic, i) => 3 + i),
      memoryDescriptor: memory === null ? null : memoryAt,
      vsockDescriptor: spec.vsockCid === null ? null : memoryAt + (memory === null ? 0 : 1),
    };
    const groups = spec.accel === 'kvm' ? [(await stat('/dev/kvm')).gid] : [];
    const args = machineArguments(spec, places);
    const inherited = {
      taps: spec.nics.map((nic) => nic.tap),
      files: memory === null ? [] : [memory],
      vsockCid: spec.vsockCid,
    };
    return launchQemu(PROGRAM, args, { uid, groups }, inherited).catch((cause: Error) => {
      throw new StartRefused(this.name, cause.message, cause);
    });
  }

  async #greet(spec: MachineSpec, child: QemuChild, ctx: StepContext): Promise<QmpClient> {
    const client = await this.#sessions.first(
      spec,
      this.#files.socketPath(spec),
      child.identity,
      callBounds(ctx),
    );
    if (client !== null) return client;
    const signal = await child.ended;
    // Somebody ended it: that is no word of QEMU's on this machine, and the next attempt may go well.
    if (signal !== null)
      throw new RuntimeError('hostFault', `QEMU was ended by ${signal} before it answered`);
    throw new StartRefused(this.name, child.words() || 'QEMU ended before it answered');
  }

  /** Waits until the guest's memory is there; the guest stands still then. @throws StartRefused */
  async #loaded(client: QmpClient, child: QemuChild, ctx: StepContext): Promise<void> {
    try {
      for (;;) {
        const { status } = await client.execute('query-status', undefined, callBounds(ctx));
        if (status !== 'inmigrate') return;
        guard(ctx);
        await wait(LOADING_MS);
      }
    } catch (error) {
      if (!(error instanceof QmpTransportError) || error.fault !== 'closed') throw error;
      await child.ended;
      throw new StartRefused(this.name, child.words() || 'QEMU ended while it read the memory', error);
    }
  }

  async #ask(
    machine: QemuMachine,
    command: 'stop' | 'cont' | 'system_powerdown' | 'system_reset',
    ctx?: StepContext,
  ): Promise<void> {
    try {
      const client = await this.#sessions.get(machine, this.#files.socketPath(machine));
      await client.execute(command, undefined, ctx === undefined ? {} : callBounds(ctx));
    } catch (error) {
      // It is gone: there is nothing left to ask, and its end is seen by itself.
      const closed = error instanceof QmpTransportError && error.fault === 'closed';
      if (!closed || (machine.process !== null && isAlive(machine.process))) throw error;
    }
  }

  async #session(key: WorkloadKey): Promise<QmpClient | null> {
    return this.#sessions.get(key, this.#files.socketPath(key)).catch(() => null);
  }

  async #rotateLogs(): Promise<void> {
    for (const machine of await this.list()) {
      if (machine.power === null) continue;
      const { serialLog, uid } = machine.record;
      const client = await this.#session(machine);
      if (client === null) continue;
      await this.#serialLocks.run(machine.instanceId, () =>
        rotate(serialLog, uid, (out) => serialSwap(client, this.#serialPort(machine, out))),
      );
    }
  }
}

function recordOf(spec: MachineSpec, { uid }: Account): ProcessRecord {
  const { instanceId, epoch, uuid, title: name, serialLog } = spec;
  const watchdogOff = spec.watchdog === 'poweroff';
  return { instanceId, epoch, uuid, name, uid, serialLog, watchdogOff, process: null };
}
