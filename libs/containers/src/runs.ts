import { watch } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { faultPoint } from '@berth/faults';
import { bootId, isAlive, signalProcess } from '@berth/linux';
import { type Observation, RuntimeError, signalNumber, type StepContext } from '@berth/runtime';
import type { HostParts } from './host-parts.js';
import { cgroupFrozen, cgroupMemory, cgroupOomKilled, trees } from './isolation/cgroup-trees.js';
import { RANGE_SIZE } from './isolation/uid-ranges.js';
import { LaunchError, type Launcher, type LaunchInput } from './launch/launcher.js';
import { memoryConditions } from './out-of-memory.js';
import { exitInfo } from './run-exit.js';
import { type RecordStore, type WorkloadRecord, workloadId } from './workload-record.js';

/** How long the monitor may take from the end of the container to the written status, ms. */
const STATUS_MS = 3000;
/** From the end of the others in a container to that of its first process, ms. */
const ENDING_MS = 500;
/** Kept of a step's time for forcing what did not heed its grace time, ms. */
const FORCE_MS = 2000;

/** Of a run that has not ended. */
export type LiveRecord = WorkloadRecord & { readonly run: NonNullable<WorkloadRecord['run']> };

/**
 * The runs of workloads: launch, watch their end, stop. Callers hold the workload's lock.
 *
 *   run: null -> created (recorded on disk) -> running -> ended (exit recorded, container deleted)
 */
export class Runs {
  constructor(
    private readonly launcher: Launcher,
    private readonly records: RecordStore,
    private readonly parts: HostParts,
  ) {}

  /** Whether the record's run still runs, by the identity of its init. */
  alive(record: WorkloadRecord): record is LiveRecord {
    return record.run !== null && record.exit === null && isAlive(record.run.init);
  }

  /**
   * Whether the record's run has ended or ends now: the kernel kills the others of a pid namespace a moment before its
   * first process is gone.
   */
  async endingWith(record: WorkloadRecord): Promise<boolean> {
    for (const end = Date.now() + ENDING_MS; this.alive(record); await wait(5))
      if (Date.now() > end) return false;
    return true;
  }

  /** Whether it waits for its start under a monitor: without one nobody keeps its output and its exit status. */
  startable(record: WorkloadRecord): boolean {
    return this.alive(record) && record.run !== null && isAlive(record.run.monitor);
  }

  /** Launches a new run from the written bundle. @throws RuntimeError badImage with the OCI runtime's reason. */
  async launch(record: WorkloadRecord, input: LaunchInput, signal: AbortSignal): Promise<WorkloadRecord> {
    const id = workloadId(record);
    const paths = this.parts.paths(record);
    await this.launcher.delete(id); // what an interrupted start may have left
    try {
      const run = await this.launcher.create({
        id,
        bundle: paths.bundle,
        logPath: paths.log,
        input,
        monitorCgroup: paths.monitorCgroup,
        signal,
      });
      await faultPoint('oci.created', record.instanceId);
      // Recorded before the program's first instruction: from here on a crash of ours cannot lose it.
      const next: WorkloadRecord = { ...record, run, stop: null, exit: null };
      await this.records.write(next);
      await faultPoint('oci.run.recorded', record.instanceId);
      if (!this.startable(next)) throw new LaunchError('its monitor or its first process is gone');
      await this.launcher.start(id, run.init);
      await faultPoint('oci.started', record.instanceId);
      return next;
    } catch (error) {
      await this.launcher.delete(id);
      await this.records.write({ ...record, run: null });
      throw launchFault(error, signal);
    }
  }

  /**
   * Records the end of a run that has ended, and takes its container away. Returns the record as it stands now; its
   * `exit` stays null while the run goes on. Repeating it returns the recorded exit.
   */
  async settle(record: WorkloadRecord): Promise<WorkloadRecord> {
    if (record.run === null || record.exit !== null || isAlive(record.run.init)) return record;
    const id = workloadId(record);
    const recorded = await this.statusOf(record, record.run);
    const memory = cgroupMemory(this.parts.paths(record).cgroup);
    const otherBoot = record.run.init.bootId !== bootId();
    const end = { recorded, memory, otherBoot, at: new Date() };
    // Another process of ours may have settled it meanwhile: the first record stands.
    const now = (await this.records.read(record)) ?? record;
    if (now.exit !== null || now.run?.init.startTime !== record.run.init.startTime) return now;
    const next: WorkloadRecord = { ...now, exit: exitInfo(now, end) };
    await this.records.write(next);
    await faultPoint('oci.end.recorded', record.instanceId);
    await this.launcher.delete(id);
    return next;
  }

  /** Asks, waits, forces. Returns the settled record. @throws RuntimeError deadline when it cannot be ended in time. */
  async end(record: WorkloadRecord, graceSeconds: number, ctx: StepContext): Promise<WorkloadRecord> {
    const id = workloadId(record);
    let now = await this.settle(record);
    if (!this.alive(now)) return now;
    // Whoever begins anew does not grant the time of grace again.
    if (graceSeconds > 0 && now.stop?.forced !== true) {
      now = { ...now, stop: now.stop ?? { forced: false } };
      await this.records.write(now);
      await faultPoint('oci.stop.recorded', now.instanceId);
      if (cgroupFrozen(this.parts.paths(now).cgroup)) await this.launcher.resume(id);
      this.signal(now, now.stopSignal);
      await faultPoint('oci.stop.signalled', now.instanceId);
      now = await this.waitEnd(
        now,
        Math.min(Date.now() + graceSeconds * 1000, ctx.deadline - FORCE_MS),
        ctx.signal,
      );
      if (now.exit !== null) return now;
    }
    now = { ...now, stop: { forced: true } };
    await this.records.write(now);
    await faultPoint('oci.kill.recorded', now.instanceId);
    this.signal(now, 'KILL');
    await faultPoint('oci.killed', now.instanceId);
    if (cgroupFrozen(this.parts.paths(now).cgroup)) await this.launcher.resume(id); // the frozen do not die
    now = await this.waitEnd(now, ctx.deadline, ctx.signal);
    if (now.exit === null) throw new RuntimeError('deadline', `${id} still runs after SIGKILL`);
    return now;
  }

  /** To its first process, and to none that has its pid by now; one that is gone needs none. No program of an OCI runtime is run for it. */
  private signal({ run }: WorkloadRecord, name: string): void {
    if (run !== null) signalProcess(run.init, signalNumber(name));
  }

  /** What is to be said of a record now. */
  observation(record: WorkloadRecord): Observation {
    const { instanceId, epoch, run, exit, uidBase } = record;
    const key = {
      ...{ instanceId, epoch },
      ...(uidBase === undefined ? {} : { uidRange: { first: uidBase, count: RANGE_SIZE } }),
    };
    if (run !== null && exit === null) {
      const { cgroup } = this.parts.paths(record);
      const all = trees();
      const power = cgroupFrozen(cgroup, all) ? 'paused' : 'running';
      const conditions = cgroupOomKilled(cgroup, all) ? memoryConditions(cgroupMemory(cgroup, all)) : [];
      const told = conditions.length === 0 ? {} : { conditions };
      return { ...key, phase: 'running', power, exit: null, pid: run.init.pid, ...told };
    }
    if (exit === null) return { ...key, phase: 'preparing', power: 'off', exit: null, pid: null };
    const power = ['stopped', 'exited', 'hostBoot'].includes(exit.reason) ? 'off' : 'crashed';
    return { ...key, phase: 'ended', power, exit, pid: null };
  }

  /** Waits until the monitor's process is gone, so that its cgroup can be removed. */
  async monitorGone(record: WorkloadRecord): Promise<void> {
    const monitor = record.run?.monitor;
    if (monitor === undefined) return;
    for (const end = Date.now() + STATUS_MS; isAlive(monitor); await wait(5))
      if (Date.now() > end) return void signalProcess(monitor, 'SIGKILL');
  }

  /** The run's end is in the exit directory soon after its init is gone; a monitor that is gone too writes nothing. */
  private async statusOf(record: WorkloadRecord, run: NonNullable<WorkloadRecord['run']>) {
    for (const end = Date.now() + STATUS_MS; ; await wait(5)) {
      const gone = !isAlive(run.monitor);
      const seen = this.launcher.exit(workloadId(record)); // read after looking at the monitor, not before
      if (seen !== null || gone || Date.now() > end) return seen;
    }
  }

  private async waitEnd(record: WorkloadRecord, until: number, signal: AbortSignal): Promise<WorkloadRecord> {
    let wake: () => void = () => undefined;
    const watcher = watch(this.launcher.exitDirectory, () => wake());
    watcher.on('error', () => undefined); // the poll below goes on
    try {
      for (;;) {
        const now = await this.settle(record);
        if (now.exit !== null || Date.now() >= until) return now;
        signal.throwIfAborted();
        const pause = Math.max(1, Math.min(100, until - Date.now()));
        await Promise.race([new Promise<void>((resolve) => (wake = resolve)), wait(pause)]);
      }
    } finally {
      watcher.close();
    }
  }
}

function launchFault(error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return new RuntimeError('deadline', 'the start took too long', { cause: error });
  if (!(error instanceof LaunchError)) return error;
  if (/sysctl/i.test(error.reason))
    return new RuntimeError('unsupported', error.message, {
      cause: error,
      remedy:
        'check security.sysctls: this host’s kernel does not take one of the values, or does not know its name',
    });
  const guest =
    /executable file not found|no such file or directory|permission denied|exec format error|chdir to cwd/i;
  return new RuntimeError(guest.test(error.reason) ? 'badImage' : 'hostFault', error.message, {
    cause: error,
    remedy: 'check process.command, process.workdir and the image',
  });
}
