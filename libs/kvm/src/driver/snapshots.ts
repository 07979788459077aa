import { faultPoint } from '@berth/faults';
import type { SnapshotTaken, VolumeId } from '@berth/model';
import {
  RuntimeError,
  type SnapshotFacet,
  type SnapshotOf,
  type StepContext,
  type WorkloadKey,
  type WorkloadSpec,
} from '@berth/runtime';
import type { Freezes } from './freezes.js';
import { runningOf, type Machine, type MachineDriver } from './machine-driver.js';
import type { MemoryImages } from './memory-images.js';
import type { TpmWatch } from '../tpm/tpm-watch.js';
import type { DiskVolumes, NicAttacher } from './ports.js';
import { refuseUsed } from './qemu-process.js';
import type { Settlement } from './settlement.js';
import { conclude, type FreezeWitness, type Witness } from './snapshot-conclusion.js';
import { removeLive, takeLive } from './snapshot-disks.js';
import { SnapshotMemories } from './snapshot-memory.js';
import {
  isTaken,
  rootOf,
  SnapshotRecords,
  type SnapshotMemory,
  type SnapshotRecord,
  type TakenRecord,
} from './snapshot-records.js';
import { callBounds, guard, hostFaults } from './step-bounds.js';
import { isSuspended, type SuspendedRecord } from './suspension.js';
import { poolFaults } from './volume-disks.js';
import type { WorkloadRecord, WorkloadRecords } from './workload-record.js';

/** A guest whose disks are taken is frozen no longer, whatever becomes of us. */
const FROZEN_SECONDS = 30;
const THAW_MS = 10_000;

interface Ports<M extends Machine> {
  readonly driver: MachineDriver<M>;
  readonly workloads: Pick<WorkloadRecords, 'read' | 'write'>;
  readonly volumes: DiskVolumes;
  readonly images: MemoryImages;
  readonly network: Pick<NicAttacher, 'inventory'>;
  /** The instance's machine; one that was left standing still for its memory goes on. */
  readonly stirred: (key: WorkloadKey) => Promise<M | null>;
  readonly settlement: Settlement<M>;
  readonly freezes: Pick<Freezes, 'freeze' | 'thaw'>;
  readonly tpms: Pick<TpmWatch<M>, 'lost'>;
  /** Whether the agent in its guest answers, as far as is known. */
  readonly answers: (key: WorkloadKey) => boolean;
  /** Alone with the instance. */
  readonly locked: <T>(key: WorkloadKey, work: () => Promise<T>) => Promise<T>;
  readonly now: () => Date;
}

/** A freeze as it stood when the disks were taken. */
type Freeze =
  | { readonly by: 'us'; readonly frozen: number; readonly until: number }
  | { readonly by: 'user'; readonly until: string }
  | Extract<FreezeWitness, { by: 'nobody' }>;

/** Nothing is said of it: what is taken with memory needs no freeze. */
const unfrozen: Freeze = { by: 'nobody', why: 'its memory was taken' };

/** What the disks were taken of, and when. */
interface Made {
  readonly at: Date;
  readonly of: Exclude<Witness, { guest: 'up' }> | Omit<Extract<Witness, { guest: 'up' }>, 'freeze'>;
  readonly memory?: SnapshotTaken['memory'];
  readonly record: SnapshotRecord;
}

/**
 * Snapshots inside the disks themselves (ADR 25): by QEMU while it has them open, by qemu-img while nobody has. A record
 * comes before each act; what it says is finished, or taken away, by whoever asks next.
 */
export class Snapshots<M extends Machine> implements SnapshotFacet {
  readonly #records: SnapshotRecords;
  readonly #memories: SnapshotMemories<M>;

  constructor(private readonly o: Ports<M>) {
    this.#records = new SnapshotRecords(o.volumes);
    this.#memories = new SnapshotMemories(this.#records, o);
  }

  async take(of: SnapshotOf, ctx: StepContext): Promise<SnapshotTaken> {
    const root = rootOf(of.volumes);
    const known = await this.#records.read(root, of.snapshotId);
    if (isTaken(known)) return known.taken;
    await this.#refuseFull();
    // A guest that goes on from its memory would find its file systems frozen, and nobody to thaw them.
    const frozen = of.memory === true ? unfrozen : await this.#freeze(of, ctx);
    await faultPoint('vm.snapshot.frozen', of.instanceId);
    let made: Made;
    let thawed: number | null = null;
    try {
      made = await this.o.locked(of, () => hostFaults(() => this.#takeDisks(of, ctx)));
    } finally {
      // Nobody waits longer than he must. What fails is thawed when it is time.
      if (frozen.by === 'us')
        thawed = await this.o.freezes.thaw(of, AbortSignal.timeout(THAW_MS)).catch(() => null);
    }
    await faultPoint('vm.snapshot.thawed', of.instanceId);
    const witness =
      made.of.guest === 'up'
        ? { ...made.of, freeze: await this.#witness(of, frozen, thawed, made.at) }
        : made.of;
    const { consistency, indications } = conclude(witness);
    const held = await Promise.all(of.volumes.map((id) => this.o.volumes.allocatedMiB(id)));
    const taken: SnapshotTaken = {
      consistency,
      indications: indications.map((text) => text.slice(0, 500)),
      takenAt: made.at.toISOString(),
      heldMiB: held.reduce((sum, mib) => sum + mib, made.memory?.sizeMiB ?? 0),
      ...(made.memory === undefined ? {} : { memory: made.memory }),
    };
    await this.#records.write({ ...made.record, state: 'taken', taken });
    await faultPoint('vm.snapshot.taken', of.instanceId);
    return taken;
  }

  revert(of: SnapshotOf, ctx: StepContext): Promise<void> {
    return this.o.locked(of, () =>
      hostFaults(async () => {
        const machine = await this.o.driver.find(of, ctx.signal);
        const workload = await this.o.settlement.settle(of, machine);
        if (runningOf(machine) !== null || isSuspended(workload))
          throw new RuntimeError('notPrepared', 'it runs, or is suspended', {
            remedy: 'stop the instance first',
          });
        const record = await this.#whole(of);
        for (const volumeId of record.volumes) await refuseUsed(volumeId);
        await this.#records.moveOn(rootOf(record.volumes));
        await this.#records.write({ ...record, state: 'reverting' });
        await faultPoint('vm.revert.recorded', of.instanceId);
        for (const volumeId of record.volumes) {
          guard(ctx);
          await this.#onDisk(volumeId, 'revert', of);
          await faultPoint('vm.revert.disk', of.instanceId);
        }
        await this.#variables('revert', of);
        const closed = record.taken.consistency !== 'crash';
        if (workload !== null) await this.o.workloads.write({ ...workload, closed });
        await this.#records.write({ ...record, state: record.memory === null ? 'taken' : 'pending' });
        await faultPoint('vm.reverted', of.instanceId);
      }),
    );
  }

  remove(of: SnapshotOf, ctx: StepContext): Promise<void> {
    return this.o.locked(of, () => hostFaults(() => this.#removeDisks(of, ctx)));
  }

  /** @see SnapshotMemories.goOn */
  goOn(spec: WorkloadSpec, before: WorkloadRecord): Promise<SuspendedRecord | null> {
    return this.#memories.goOn(spec, before);
  }

  /** Disks of this root are about to be written: what they were brought back to is the past. */
  moveOn(root: VolumeId): Promise<void> {
    return this.#records.moveOn(root);
  }

  /** Of disks that were brought back in part nothing starts. @throws RuntimeError hostFault */
  async refuseReverting(root: VolumeId): Promise<void> {
    const snapshotId = await this.#records.reverting(root);
    if (snapshotId !== null)
      throw new RuntimeError('hostFault', `its disks are being brought back to snapshot ${snapshotId}`, {
        remedy: 'revert it to that snapshot once more, which finishes it',
      });
  }

  /** @throws RuntimeError noSpace */
  async #refuseFull(): Promise<void> {
    if ((await this.o.volumes.freeMiB()) > 0) return;
    throw new RuntimeError('noSpace', 'only the reserve of the pool is free', {
      remedy: 'Delete snapshots, instances or images that are not needed.',
    });
  }

  /** Whoever cannot be frozen is taken as it is. */
  async #freeze(of: SnapshotOf, ctx: StepContext): Promise<Freeze> {
    const record = await this.o.workloads.read(of);
    if (record?.state === 'started' && record.frozenUntil !== null)
      return { by: 'user', until: record.frozenUntil };
    if (!this.o.answers(of))
      return { by: 'nobody', why: 'no guest agent answered, so its file systems were in use' };
    const until = this.o.now().getTime() + FROZEN_SECONDS * 1000;
    try {
      return { by: 'us', until, frozen: await this.o.freezes.freeze(of, FROZEN_SECONDS, ctx.signal) };
    } catch (error) {
      if (!(error instanceof RuntimeError)) throw error;
      return { by: 'nobody', why: `its file systems could not be frozen: ${error.message}` };
    }
  }

  async #witness(of: SnapshotOf, freeze: Freeze, thawed: number | null, at: Date): Promise<FreezeWitness> {
    if (freeze.by === 'nobody') return freeze;
    if (freeze.by === 'us')
      return { by: 'us', frozen: freeze.frozen, thawed, inTime: at.getTime() < freeze.until };
    const now = await this.o.workloads.read(of);
    return { by: 'user', held: now?.frozenUntil === freeze.until && at.getTime() < Date.parse(freeze.until) };
  }

  /** Called with the lock held. @throws RuntimeError; then nothing of it is left */
  async #takeDisks(of: SnapshotOf, ctx: StepContext): Promise<Made> {
    const { driver, settlement } = this.o;
    const machine = await this.o.stirred(of);
    const workload = await settlement.settle(of, machine);
    const running = runningOf(machine);
    if (running !== null && running.epoch !== of.epoch)
      throw new RuntimeError('hostFault', `epoch ${running.epoch} of this instance runs`);
    const { snapshotId, instanceId, volumes } = of;
    const memory = of.memory === true ? await this.#memoryOf(running, workload, ctx) : null;
    const record: SnapshotRecord = {
      snapshotId,
      instanceId,
      volumes: [...volumes],
      state: 'taking',
      taken: null,
      memory,
    };
    await this.#records.write(record);
    await faultPoint('vm.snapshot.recorded', instanceId);
    guard(ctx);
    try {
      if (running !== null) {
        const disks = async (): Promise<void> => {
          await takeLive(await driver.monitor(running), of, callBounds(ctx));
          await this.#variables('take', of);
        };
        if (memory !== null) {
          const made = await this.#memories.take(running, workload, of, memory, disks, ctx);
          await faultPoint('vm.snapshot.made', instanceId);
          const { stoodStillMs } = made.memory;
          return { ...made, record, of: { guest: 'held', disks: volumes.length, stoodStillMs } };
        }
        await disks();
      } else {
        for (const volumeId of volumes) await this.#onDisk(volumeId, 'take', of);
        await this.#variables('take', of);
      }
    } catch (error) {
      // What cannot be taken away now is, when it is asked for again or given up.
      await this.#removeDisks(of, ctx).catch(() => undefined);
      throw error;
    }
    const at = this.o.now();
    await faultPoint('vm.snapshot.made', instanceId);
    return { at, record, of: running === null ? atRest(workload) : { guest: 'up', disks: volumes.length } };
  }

  /** @throws RuntimeError notPrepared */
  #memoryOf(running: M | null, workload: WorkloadRecord | null, ctx: StepContext): Promise<SnapshotMemory> {
    if (running === null)
      throw new RuntimeError('notPrepared', 'it does not run, so there is no memory to take', {
        remedy: 'start it first, or take its disks alone',
      });
    return this.#memories.memoryOf(running, workload, ctx);
  }

  /** Called with the lock held. */
  async #removeDisks(of: SnapshotOf, ctx: StepContext): Promise<void> {
    const root = rootOf(of.volumes);
    const running = runningOf(await this.o.stirred(of));
    const closed =
      running === null
        ? of.volumes
        : await removeLive(await this.o.driver.monitor(running), of, callBounds(ctx));
    for (const volumeId of closed) await this.#onDisk(volumeId, 'remove', of);
    await faultPoint('vm.snapshot.dropped', of.instanceId);
    await this.#variables('remove', of);
    await this.#records.remove(root, of.snapshotId);
  }

  /** The record of a snapshot that every one of its disks holds. @throws RuntimeError noSuchSnapshot */
  async #whole(of: SnapshotOf): Promise<TakenRecord> {
    const record = await this.#records.read(rootOf(of.volumes), of.snapshotId);
    if (!isTaken(record)) throw new RuntimeError('noSuchSnapshot', 'there is no such snapshot on this host');
    for (const volumeId of record.volumes)
      if (!(await diskFaults(() => this.o.volumes.hasSnapshot(volumeId, of.snapshotId))))
        throw new RuntimeError('noSuchSnapshot', `volume ${volumeId} holds the snapshot no more`);
    return record;
  }

  /** Of its firmware: taken right after the disks, and brought back with them. */
  #variables(verb: 'take' | 'revert' | 'remove', { volumes, snapshotId }: SnapshotOf): Promise<void> {
    return diskFaults(() => this.o.volumes.variables(rootOf(volumes), verb, snapshotId));
  }

  #onDisk(volumeId: VolumeId, verb: 'take' | 'revert' | 'remove', { snapshotId }: SnapshotOf): Promise<void> {
    return diskFaults(() => this.o.volumes.snapshot(volumeId, verb, snapshotId));
  }
}

const atRest = (workload: WorkloadRecord | null): Made['of'] =>
  isSuspended(workload)
    ? { guest: 'suspended' }
    : { guest: 'off', closed: workload?.state === 'ended' && workload.closed };

/** @throws RuntimeError noSuchSnapshot, unsupported, noSpace, hostFault */
async function diskFaults<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const { code } = cause as { code?: unknown };
    if (code === 'noSuchSnapshot' || code === 'unsupported')
      throw new RuntimeError(code, (cause as Error).message, { cause });
    return poolFaults('the snapshot', () => Promise.reject(cause as Error));
  }
}
