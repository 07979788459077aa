import { chmod, chown, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  cgroupAdd,
  cgroupCreate,
  cgroupKill,
  cgroupLimits,
  cgroupRemove,
  isAlive,
  type ProcessIdentity,
  run,
} from '@berth/linux';
import type { VolumeId } from '@berth/model';
import { RuntimeError, type EnforcedLimits, type StepContext, type WorkloadKey } from '@berth/runtime';
import {
  StartRefused,
  type Machine,
  type MachineDriver,
  type MachineListener,
} from '../driver/machine-driver.js';
import type { VmRuntimeOptions } from '../driver/ports.js';
import type { Account } from '../driver/qemu-account.js';
import { callBounds } from '../driver/step-bounds.js';
import type { MachineSpec } from '../machine/machine-spec.js';
import type { QmpClient } from '../qmp/client.js';
import { QmpTransportError } from '../qmp/commands.js';
import { Attention } from './attention.js';
import { machineArguments, qmpChardev, SERIAL_CHARDEV } from './machine-arguments.js';
import { argumentsOf, endProcess, findByArgument, launchQemu, type QemuChild } from './process.js';
import { QmpSessions } from './qmp-sessions.js';
import { RunFiles, type ProcessRecord } from './run-files.js';
import { livePower, stateOf } from './run-state.js';
import { forgetRotation, openedFor, rotate } from './serial-rotation.js';
import { VmUids } from './vm-uids.js';

const PROGRAM = 'qemu-system-x86_64';
/** QEMU answers in a millisecond; one that does not is stuck or stopped, and is not asked again for a while. */
const STATUS_MS = 1_000;
const STUCK_MS = 5_000;

/** A machine of which a process or its record is left. */
export interface QemuMachine extends Machine {
  readonly record: ProcessRecord;
  /** Null when the process is gone. */
  readonly process: ProcessIdentity | null;
}

/**
 * Machines whose QEMU we start ourselves. Each is a detached process of its own user, cgroup and session, found again
 * by its record, and talked to over QMP:
 *
 *   record (no process) -> spawned, frozen -> record (pid, start time, boot) -> cgroup -> QMP -> `cont`
 *
 * Whatever is interrupted before `cont` never ran its guest, and the next start sweeps it.
 */
export class QemuMachines implements MachineDriver<QemuMachine> {
  readonly name = 'qemu';
  readonly #files: RunFiles;
  readonly #uids: VmUids;
  readonly #sessions: QmpSessions;
  readonly #attention: Attention;
  /** Machines that were told to quit by somebody else, as QEMU said before it went. */
  readonly #quit = new Set<string>();
  /** The last answer of each machine, and until when it need not be asked again (performance.now). */
  readonly #last = new Map<string, { readonly power: Machine['power']; readonly until: number }>();
  #listener: MachineListener | null = null;

  constructor(private readonly options: VmRuntimeOptions) {
    this.#files = new RunFiles(options.runDir);
    this.#uids = new VmUids(join(options.stateDir, 'vm-uids.json'));
    this.#sessions = new QmpSessions({
      event: (key, { event, data }) => {
        if (event === 'SHUTDOWN' && /^host-(signal|qmp-quit)$/.test(String(data['reason'])))
          this.#quit.add(idOf(key));
        if (livePower.has(event)) this.#listener?.noticed(key);
      },
      closed: (key) => this.#attention.lost(key),
    });
    this.#attention = new Attention({
      alive: async (key) => (await this.#find(key)).process !== null,
      reached: async (key) => (await this.#session(key)) !== null,
      gone: (key) => this.#listener?.noticed(key),
      tick: () => this.#rotateLogs(),
    });
  }

  async versions(): Promise<Record<string, string>> {
    const { stdout } = await run(PROGRAM, ['--version']).catch((cause: Error) => {
      throw new RuntimeError('hostFault', `there is no QEMU here: ${cause.message}`, {
        cause,
        remedy: 'install the package qemu-system-x86',
      });
    });
    return { qemu: /version (\d+(?:\.\d+)+)/.exec(stdout)?.[1] ?? 'unknown' };
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

  async find({ instanceId }: Pick<WorkloadKey, 'instanceId'>): Promise<QemuMachine | null> {
    let newest: QemuMachine | null = null;
    for (const epoch of await this.#files.epochs(instanceId)) {
      const machine = await this.#look({ instanceId, epoch });
      if (machine !== null && machine.power !== null) return machine;
      newest ??= machine;
    }
    return newest;
  }

  async list(): Promise<QemuMachine[]> {
    const found = await Promise.all(
      (await this.#files.instances()).map(async (instanceId) => {
        const epochs = await this.#files.epochs(instanceId);
        return Promise.all(epochs.map((epoch) => this.#look({ instanceId, epoch })));
      }),
    );
    return found.flat().filter((machine) => machine !== null);
  }

  pid(machine: QemuMachine): Promise<number | null> {
    return Promise.resolve(machine.process?.pid ?? null);
  }

  async limits(machine: QemuMachine): Promise<EnforcedLimits> {
    const client = await this.#sessions.get(machine, this.#files.socketPath(machine));
    const memory = await client.execute('query-memory-size-summary');
    const { cpuMillis } = await cgroupLimits(this.#cgroup(machine));
    return { memoryBytes: memory['base-memory'], cpuMillis, pids: null };
  }

  async userOf(volumeId: VolumeId): Promise<string | null> {
    for (const { process: identity, name } of await this.list())
      if (identity !== null && (await argumentsOf(identity.pid)).some((text) => text.includes(volumeId)))
        return name;
    return null;
  }

  async launch(spec: MachineSpec, account: Account, ctx: StepContext): Promise<void> {
    await this.clear(spec);
    try {
      await this.#giveFiles(spec, account);
      const record = recordOf(spec, account);
      await this.#files.write(record);
      await cgroupCreate(this.#cgroup(spec), { cpuMillis: spec.cpuMillis });
      const child = await this.#spawn(spec, account);
      await this.#files.write({ ...record, process: child.identity });
      await cgroupAdd(this.#cgroup(spec), child.identity.pid);
      const client = await this.#greet(spec, child, ctx);
      await client.execute('cont', undefined, callBounds(ctx));
    } catch (error) {
      await this.clear(spec);
      throw error;
    }
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

  async destroy(machine: QemuMachine): Promise<void> {
    if (machine.process !== null) await endProcess(machine.process);
  }

  async ended(key: WorkloadKey): Promise<void> {
    await this.clear(key);
  }

  async clear(key: WorkloadKey): Promise<void> {
    const { record, process: identity } = await this.#find(key);
    if (identity !== null) await endProcess(identity);
    await cgroupKill(this.#cgroup(key));
    await cgroupRemove(this.#cgroup(key));
    if (record !== null) await forgetRotation(record.serialLog);
    await this.#files.remove(key);
    this.#quit.delete(idOf(key));
    this.#last.delete(idOf(key));
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
    return `berth-qemu.${this.options.hostTag}.${key.instanceId}.${key.epoch}`;
  }

  /** Hands QEMU's user what it must open; the base is shared and stays root's. */
  async #giveFiles(spec: MachineSpec, { uid, gid }: Account): Promise<void> {
    await this.#files.prepare(spec, uid);
    await chown(spec.disk.path, uid, gid);
    if (spec.seedPath !== null) {
      await chown(spec.seedPath, uid, gid);
      await chmod(spec.seedPath, 0o400);
    }
    await openedFor(spec.serialLog, uid);
    await rotate(spec.serialLog, uid, () => Promise.resolve());
  }

  async #spawn(spec: MachineSpec, { uid }: Account): Promise<QemuChild> {
    const places = {
      qmpSocket: this.#files.socketPath(spec),
      tapDescriptors: spec.nics.map((_nic, i) => 3 + i),
    };
    const groups = spec.accel === 'kvm' ? [(await stat('/dev/kvm')).gid] : [];
    const args = machineArguments(spec, places);
    const taps = spec.nics.map((nic) => nic.tap);
    return launchQemu(PROGRAM, args, { uid, groups }, taps).catch((cause: Error) => {
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
    throw new StartRefused(this.name, child.words() || 'QEMU ended before it answered');
  }

  async #ask(
    machine: QemuMachine,
    command: 'stop' | 'cont' | 'system_powerdown',
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

  /** Record and process of an epoch, without asking QEMU anything. */
  async #find(key: WorkloadKey): Promise<{ record: ProcessRecord | null; process: ProcessIdentity | null }> {
    const record = await this.#files.read(key);
    if (record !== null && record.process !== null)
      return { record, process: isAlive(record.process) ? record.process : null };
    if (!(await this.#files.epochs(key.instanceId)).includes(key.epoch)) return { record, process: null };
    // We were ended between starting it and writing down its pid.
    const argument = qmpChardev(this.#files.socketPath(key));
    return { record, process: await findByArgument(argument) };
  }

  async #look(key: WorkloadKey): Promise<QemuMachine | null> {
    const { record, process: identity } = await this.#find(key);
    if (record === null) return null;
    const { instanceId, epoch, uuid, name } = record;
    const base = { instanceId, epoch, uuid, name, record, process: identity };
    // Without a recorded process it was never let go.
    if (record.process === null) return { ...base, power: null, end: 'unknown' };
    const end = this.#quit.has(idOf(key)) ? 'destroyed' : 'failed';
    if (identity === null) return { ...base, power: null, end };
    return { ...base, ...(await this.#status(key, identity)), process: identity };
  }

  async #status(key: WorkloadKey, identity: ProcessIdentity): Promise<Pick<Machine, 'power' | 'end'>> {
    const last = this.#last.get(idOf(key));
    if (last !== undefined && last.until > performance.now()) return { power: last.power, end: 'unknown' };
    try {
      const client = await this.#sessions.get(key, this.#files.socketPath(key));
      const { status } = await client.execute('query-status', undefined, { timeoutMs: STATUS_MS });
      const state = stateOf(status);
      this.#last.set(idOf(key), { power: state.power, until: 0 });
      return state;
    } catch (error) {
      if (!(error instanceof QmpTransportError)) throw error;
      if (!isAlive(identity)) return { power: null, end: this.#quit.has(idOf(key)) ? 'destroyed' : 'failed' };
      // A process that does not answer still holds the machine's disk, so the machine is not off.
      const power = last?.power ?? 'running';
      this.#last.set(idOf(key), { power, until: performance.now() + STUCK_MS });
      return { power, end: 'unknown' };
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
      await rotate(serialLog, uid, async (out) => {
        const backend = { type: 'file', data: { out, append: true } } as const;
        await client.execute('chardev-change', { id: SERIAL_CHARDEV, backend });
      });
    }
  }
}

function idOf(key: WorkloadKey): string {
  return `${key.instanceId}/${key.epoch}`;
}

function recordOf(spec: MachineSpec, { uid }: Account): ProcessRecord {
  const { instanceId, epoch, uuid, title: name, serialLog } = spec;
  return { instanceId, epoch, uuid, name, uid, serialLog, process: null };
}
