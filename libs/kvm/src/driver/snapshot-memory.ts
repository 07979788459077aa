import { link, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { faultPoint } from '@berth/faults';
import { syncPath } from '@berth/linux';
import { firmwareKind, misfits, type SnapshotMachine, type SnapshotTaken } from '@berth/model';
import { RuntimeError, timed, type SnapshotOf, type StepContext, type WorkloadSpec } from '@berth/runtime';
import { tapsOf } from './live-nics.js';
import type { Machine, MachineDriver } from './machine-driver.js';
import { machineShape } from './machine-shape.js';
import { memoryBegun, memoryCompleted, type MemoryImages } from './memory-images.js';
import { refuseTpmLost, type TpmWatch } from '../tpm/tpm-watch.js';
import type { DiskVolumes, NicAttacher } from './ports.js';
import { adoptedRecord } from './settlement.js';
import { rootOf, type SnapshotMemory, type SnapshotRecords } from './snapshot-records.js';
import { callBounds } from './step-bounds.js';
import type { SuspendedRecord } from './suspension.js';
import type { WorkloadRecord, WorkloadRecords } from './workload-record.js';

const MIB = 2 ** 20;

interface Ports<M extends Machine> {
  readonly driver: MachineDriver<M>;
  readonly workloads: Pick<WorkloadRecords, 'read' | 'write'>;
  readonly volumes: DiskVolumes;
  readonly images: MemoryImages;
  readonly network: Pick<NicAttacher, 'inventory'>;
  readonly tpms: Pick<TpmWatch<M>, 'lost'>;
  /** Lets a machine go on that stands still for its memory. */
  readonly stirred: (of: SnapshotOf) => Promise<unknown>;
}

/**
 * The memory of a guest as a part of a snapshot (ADR 42): what a suspended machine's is, in a file of the snapshot's own. The guest
 * stands still from before its disks are taken until its memory is written; that it does is written down before, and whoever
 * comes next lets it go on. Calls come with the instance's lock held.
 */
export class SnapshotMemories<M extends Machine> {
  constructor(
    private readonly records: SnapshotRecords,
    private readonly o: Ports<M>,
  ) {}

  /** What its memory would have to come back to. @throws RuntimeError notPrepared */
  async memoryOf(machine: M, workload: WorkloadRecord | null, ctx: StepContext): Promise<SnapshotMemory> {
    const { driver, network } = this.o;
    const { frozenUntil, watchdog, cpuModel } = workload ?? adoptedRecord(machine);
    if (machine.power !== 'running')
      throw new RuntimeError('notPrepared', 'its guest stands still, so its memory is not taken', {
        remedy: 'resume it first, or take its disks alone',
      });
    if (frozenUntil !== null)
      throw new RuntimeError(
        'notPrepared',
        'its file systems are frozen, and would be for good in its memory',
        {
          remedy: 'thaw them first, or take its disks alone',
        },
      );
    refuseTpmLost(
      await this.o.tpms.lost(machine),
      'its memory cannot be written; its disks alone can be taken',
    );
    const shape = await machineShape(
      await driver.monitor(machine),
      await tapsOf(machine, network),
      callBounds(ctx),
    );
    return { ...shape, driver: driver.name, watchdog, cpuModel };
  }

  /**
   * Takes disks and memory while its guest stands still; it goes on, whatever happens. The record of the snapshot is there.
   * @param disks takes those
   */
  async take(
    machine: M,
    workload: WorkloadRecord | null,
    of: SnapshotOf,
    memory: SnapshotMemory,
    disks: () => Promise<void>,
    ctx: StepContext,
  ): Promise<{ at: Date; memory: NonNullable<SnapshotTaken['memory']> }> {
    const { driver, workloads } = this.o;
    const root = rootOf(of.volumes);
    const path = this.records.memoryPath(root, of.snapshotId);
    const mostMiB = memory.memoryMiB + (memory.plug?.requestedMiB ?? 0);
    const remedy = 'Delete snapshots, instances or images that are not needed, or take its disks alone.';
    const target = await memoryBegun(path, mostMiB, await this.o.volumes.freeMiB(), remedy);
    const record = workload ?? adoptedRecord(machine);
    await workloads.write({ ...record, stilled: true });
    await faultPoint('vm.snapshot.stilled', of.instanceId);
    const since = performance.now();
    let at: Date;
    try {
      await driver.pause(machine, ctx);
      at = new Date();
      await disks();
      await faultPoint('vm.snapshot.disks', of.instanceId);
      await timed(ctx.watch, 'memory', () => driver.copyMemory(machine, target, ctx));
      await faultPoint('vm.snapshot.memory', of.instanceId);
      await driver.resume(machine, ctx);
    } catch (error) {
      await this.o.stirred(of);
      throw error;
    }
    const stoodStillMs = Math.ceil(performance.now() - since);
    await workloads.write({ ...record, stilled: false });
    await faultPoint('vm.snapshot.stirred', of.instanceId);
    if (!(await memoryCompleted(path))) throw new RuntimeError('hostFault', 'its memory was not written');
    const sizeMiB = Math.ceil(((await stat(path)).blocks * 512) / MIB);
    return { at, memory: { sizeMiB, stoodStillMs, machine: machineOf(memory) } };
  }

  /**
   * The record of a workload that goes on with the memory that its disks were brought back with; null where it is to boot. Its image
   * is another name of the snapshot's file, which nobody writes.
   * @throws RuntimeError unsupported where another machine is asked for
   */
  async goOn(spec: WorkloadSpec, before: WorkloadRecord): Promise<SuspendedRecord | null> {
    const volumeId = spec.rootVolume.id;
    const pending = await this.records.pending(volumeId);
    if (pending === null) return null;
    const { driver: _, watchdog, cpuModel, ...shape } = pending.memory;
    const wrong = misfits(machineOf(pending.memory), { ...wantedBy(spec), driver: this.o.driver.name });
    if (wrong.length > 0)
      throw new RuntimeError(
        'unsupported',
        `it does not fit the memory of snapshot ${pending.snapshotId}: ${wrong.map((w) => `${w.field}: ${w.message}`).join('; ')}`,
        { remedy: wrong.map((w) => `${w.field}: ${w.remedy}`).join('; ') },
      );
    await this.o.images.discard(volumeId);
    const image = this.o.images.path(volumeId);
    await link(this.records.memoryPath(volumeId, pending.snapshotId), image);
    await syncPath(dirname(image));
    await faultPoint('vm.revert.memory', spec.instanceId);
    const suspended: SuspendedRecord = {
      ...before,
      state: 'suspended',
      intent: 'none',
      paused: false,
      watchdog,
      cpuModel,
      expiredAt: null,
      frozenUntil: null,
      stilled: false,
      exit: null,
      closed: false,
      memory: { volumeId, ...shape },
    };
    await this.o.workloads.write(suspended);
    await faultPoint('vm.revert.suspended', spec.instanceId);
    return suspended;
  }
}

/** What a user can know of it. */
export function machineOf(memory: SnapshotMemory): SnapshotMachine {
  const { driver, accel, vcpus, vcpuPlug, memoryMiB, plug } = memory;
  const { cpuModel, firmware, tpm, hugePages, numaNodes, vsock, watchdog, display, displays, cdroms } =
    memory;
  return {
    driver,
    accel,
    vcpus: vcpus + (vcpuPlug?.plugged ?? 0),
    mostVcpus: vcpuPlug?.most ?? null,
    bootMiB: memoryMiB,
    plugMiB: plug?.sizeMiB ?? 0,
    requestedMiB: plug?.requestedMiB ?? 0,
    cpuModel,
    firmware,
    tpm,
    hugePages,
    numaNodes,
    vsock,
    watchdog,
    usbTablet: display ? memory.usbTablet : null,
    displays: display ? displays : null,
    cdroms: cdroms.map(({ bus, digest }) => ({ bus, digest })),
    nics: (memory.nics ?? []).map(({ id, mac }) => ({ id, mac })),
  };
}

function wantedBy(spec: WorkloadSpec): Omit<Parameters<typeof misfits>[1], 'driver'> {
  return {
    accel: spec.accel,
    vcpus: spec.vcpus,
    memoryMiB: spec.memoryMiB,
    maxMemoryMiB: spec.maxMemoryMiB ?? null,
    maxVcpus: spec.maxVcpus ?? null,
    cpuModel: spec.cpuModel ?? null,
    firmware: firmwareKind(spec.firmware),
    tpm: spec.tpm === true,
    hugePages: spec.hugePages ?? null,
    numaNodes: spec.numa?.nodes ?? 1,
    vsock: spec.vsock === true,
    watchdog: spec.watchdog ?? null,
    usbTablet: spec.usbTablet ?? true,
    displays: spec.displays ?? 1,
    cdroms: (spec.cdroms ?? []).map(({ bus, image }) => ({ bus, digest: image?.digest ?? null })),
    nics: spec.nics.map(({ id, mac }) => ({ id, mac })),
  };
}
