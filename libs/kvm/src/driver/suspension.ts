import { faultPoint } from '@berth/faults';
import { bootId } from '@berth/linux';
import { RuntimeError, type StepContext, timed, type WorkloadKey, type WorkloadSpec } from '@berth/runtime';
import { StartRefused, type Machine, type MachineDriver } from './machine-driver.js';
import { machineShape } from './machine-shape.js';
import { tapsOf } from './live-nics.js';
import type { MemoryImages } from './memory-images.js';
import type { NicAttacher } from './ports.js';
import type { MachinePreparation } from './preparation.js';
import { callBounds, guard } from './step-bounds.js';
import type { MemoryRecord, WorkloadRecord, WorkloadRecords } from './workload-record.js';

/*
 * Suspending a machine to disk, and bringing it back (ADR 21). Two records are points of no return:
 *
 *   `suspended`  the image is whole and counts; a process that is still there is ended, its guest does not run any more
 *   `started`    the guest may run, so its disk moves on and the image counts no longer; it is removed before `cont`
 */

/** A record of a machine whose memory is on disk. */
export type SuspendedRecord = WorkloadRecord & { readonly memory: MemoryRecord };

export function isSuspended(record: WorkloadRecord | null): record is SuspendedRecord {
  return (
    record !== null &&
    (record.state === 'suspended' || record.state === 'restoring') &&
    record.memory !== null
  );
}

/** Its memory is being written. */
export function isSuspending(record: WorkloadRecord): record is SuspendedRecord {
  return record.state === 'suspending' && record.memory !== null;
}

/** @throws RuntimeError notPrepared */
export function refuseSuspended(record: WorkloadRecord | null): void {
  if (isSuspended(record) || (record !== null && isSuspending(record)))
    throw new RuntimeError('notPrepared', 'the instance is suspended, or about to be');
}

/** Calls come with the instance's lock held. */
export class Suspension<M extends Machine> {
  constructor(
    private readonly driver: MachineDriver<M>,
    private readonly records: WorkloadRecords,
    private readonly images: MemoryImages,
    private readonly preparation: MachinePreparation,
    private readonly network: Pick<NicAttacher, 'inventory'>,
    private readonly now: () => Date,
  ) {}

  /**
   * Of a machine that runs or is paused. What fails before the image is whole leaves it standing still; it goes on when
   * somebody resumes it. @throws RuntimeError noSpace, deadline, hostFault
   */
  async suspend(machine: M, before: WorkloadRecord, spec: WorkloadSpec, ctx: StepContext): Promise<void> {
    const volumeId = spec.rootVolume.id;
    const qmp = await this.driver.monitor(machine);
    const taps = await tapsOf(spec, this.network);
    const memory: MemoryRecord = { volumeId, ...(await machineShape(qmp, taps, callBounds(ctx))) };
    const target = await this.images.begin(volumeId, memory.memoryMiB + (memory.plug?.requestedMiB ?? 0));
    const suspending: SuspendedRecord = { ...before, state: 'suspending', memory };
    await this.records.write(suspending);
    await faultPoint('vm.suspend.recorded', spec.instanceId);
    guard(ctx);
    await timed(ctx.watch, 'memory', () => this.driver.save(machine, target, ctx));
    await faultPoint('vm.memory.saved', spec.instanceId);
    if ((await this.complete(suspending)) === null)
      throw new RuntimeError('hostFault', 'its memory was not written');
    await this.driver.clear(spec, ctx);
    await faultPoint('vm.suspended', spec.instanceId);
  }

  /** The image is whole, and its machine will not go on. Null when there is no image after all. */
  async complete(record: SuspendedRecord): Promise<SuspendedRecord | null> {
    if (!(await this.images.complete(record.memory.volumeId))) return null;
    const suspended = { ...record, state: 'suspended', paused: false } as const;
    await this.records.write(suspended);
    await faultPoint('vm.suspended.recorded', record.instanceId);
    return suspended;
  }

  /** Its guest goes on. @throws RuntimeError hostFault when the image cannot be restored here */
  async restore(spec: WorkloadSpec, record: SuspendedRecord, ctx: StepContext): Promise<void> {
    const { volumeId, ...shape } = record.memory;
    // What an interrupted attempt left never ran its guest.
    await this.driver.clear(spec, ctx);
    const account = await this.driver.account(volumeId);
    const machine = await this.preparation.machine(spec, account, ctx.signal, {
      ...shape,
      watchdog: record.watchdog,
      cpuModel: record.cpuModel,
    });
    const path = this.images.path(volumeId);
    await this.records.write({ ...record, state: 'restoring' });
    await faultPoint('vm.restore.recorded', spec.instanceId);
    try {
      await timed(ctx.watch, 'restore', () => this.driver.restore(machine, account, path, ctx));
    } catch (error) {
      if (!(error instanceof StartRefused)) throw error;
      throw new RuntimeError('hostFault', `its memory cannot be restored: ${error.reason}`, {
        cause: error,
        remedy: 'Stop it, which discards its memory, and start it again.',
      });
    }
    await faultPoint('vm.restored', spec.instanceId);
    const started = { ...record, state: 'started', intent: 'none', bootId: bootId(), paused: false } as const;
    await this.records.write(started);
    await faultPoint('vm.restored.recorded', spec.instanceId);
    const restored = await this.driver.find(spec, ctx.signal);
    await this.forget(started);
    if (restored?.power === 'paused') await this.driver.resume(restored, ctx);
  }

  /** An image that counts no longer, if there is one: the machine runs, or ended without it. */
  async forget(record: WorkloadRecord): Promise<void> {
    if (record.memory === null) return;
    await this.images.discard(record.memory.volumeId);
    await this.records.write({ ...record, memory: null });
  }

  /** The run of a suspended machine ends here; its memory goes. */
  async discard(record: SuspendedRecord, ctx: StepContext): Promise<void> {
    await this.driver.clear(record, ctx);
    const exit = { reason: 'stopped', at: this.now().toISOString() } as const;
    const ended: WorkloadRecord = { ...record, state: 'ended', exit };
    await this.records.write(ended);
    await faultPoint('vm.suspended.discarded', record.instanceId);
    await this.forget(ended);
  }

  /** What is true of a suspended machine, by what its driver sees; it is one no more when its guest runs after all. */
  async settle(record: SuspendedRecord, machine: M | null): Promise<WorkloadRecord> {
    if (machine?.power === 'running' && machine.guessed !== true) {
      // Somebody else let it go on: what its guest writes from now on does not fit the image.
      const started: WorkloadRecord = { ...record, state: 'started', bootId: bootId() };
      await this.records.write(started);
      await this.forget(started);
      return { ...started, memory: null };
    }
    // Its memory is on disk, and it will not go on. One that only stands still is another: libvirt starts each so.
    if (record.state === 'suspended' && machine?.power === 'paused' && machine.end === 'saved')
      await this.driver.clear(machine);
    return record;
  }

  /** The end of an epoch: nothing of it is left. */
  async removed(key: WorkloadKey): Promise<void> {
    const memory = (await this.records.read(key))?.memory;
    if (memory !== undefined && memory !== null) await this.images.discard(memory.volumeId);
  }
}
