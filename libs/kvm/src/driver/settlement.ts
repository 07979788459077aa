import { faultPoint } from '@berth/faults';
import { bootId } from '@berth/linux';
import type { Phase } from '@berth/model';
import { keyText, type Observation, type WorkloadKey } from '@berth/runtime';
import type { Machine, MachineDriver } from './machine-driver.js';
import { exitOf, hasRun } from './machine-end.js';
import { frozenCondition } from './freezes.js';
import { storageCondition } from './storage-watch.js';
import { tpmCondition, type TpmWatch } from '../tpm/tpm-watch.js';
import { isSuspended, isSuspending, type Suspension } from './suspension.js';
import { watchdogCondition } from './watchdog.js';
import type { WorkloadRecord, WorkloadRecords } from './workload-record.js';

/** What machines and records together say of a workload. */
export class Settlement<M extends Machine> {
  constructor(
    private readonly driver: MachineDriver<M>,
    private readonly records: WorkloadRecords,
    private readonly suspension: Suspension<M>,
    private readonly tpms: Pick<TpmWatch<M>, 'lost' | 'hadLost'>,
    private readonly now: () => Date,
  ) {}

  /** Everything that a record or the driver tells of. */
  async known(): Promise<WorkloadKey[]> {
    const keys = new Map<string, WorkloadKey>();
    const known = [...(await this.records.all()), ...(await this.driver.list())];
    for (const { instanceId, epoch } of known)
      keys.set(keyText({ instanceId, epoch }), { instanceId, epoch });
    return [...keys.values()];
  }

  /**
   * Writes down how the last run ended, once. Call it with the instance's lock held, and before anything that makes
   * the driver forget (a new start, a removal).
   */
  async settle(key: WorkloadKey, machine: M | null): Promise<WorkloadRecord | null> {
    const record = await this.records.read(key);
    if (record === null || record.state === 'prepared') return record;
    const mine = machine?.epoch === key.epoch ? machine : null;
    if (record.state === 'ended') {
      // Written down by a life of ours that did not come to the rest.
      if (mine !== null && mine.power === null) await this.driver.ended(key);
      await this.suspension.forget(record);
      return record;
    }
    if (isSuspended(record)) return this.suspension.settle(record, mine);
    if (mine !== null && mine.power !== null) return record;
    const end = mine?.end ?? 'unknown';
    const suspended = end === 'saved' && isSuspending(record) ? await this.suspension.complete(record) : null;
    if (suspended !== null) return suspended;
    if (!hasRun(record, end)) return record;
    const now = { bootId: bootId(), at: this.now().toISOString() };
    const exit = exitOf(record, { ...(mine ?? { end }), tpmLost: this.tpms.hadLost(key) }, now);
    const closed = end === 'guestOff' && exit.reason !== 'hostBoot';
    const ended: WorkloadRecord = { ...record, state: 'ended', exit, closed };
    await this.records.write(ended);
    await faultPoint('vm.end.recorded', key.instanceId);
    await this.suspension.forget(ended);
    await this.driver.ended(key);
    return { ...ended, memory: null };
  }

  /** The hypervisor refused the start: keep the reason. */
  async refused(record: WorkloadRecord, message: string): Promise<void> {
    const exit = { reason: 'startFailed', message, at: this.now().toISOString() } as const;
    await this.records.write({ ...record, state: 'ended', exit });
  }

  /** What is to be said of a workload. Null when neither a record nor a machine of this epoch is left. */
  async observation(
    key: WorkloadKey,
    machine: M | null,
    record: WorkloadRecord | null,
  ): Promise<Observation | null> {
    const mine = machine?.epoch === key.epoch ? machine : null;
    if (mine === null && record === null) return null;
    const base = { instanceId: key.instanceId, epoch: key.epoch };
    if (isSuspended(record)) return { ...base, phase: 'running', power: 'suspended', exit: null, pid: null };
    if (mine !== null && mine.power !== null) {
      const phase: Phase = record !== null && record.intent !== 'none' ? 'stopping' : 'running';
      const pid = await this.driver.pid(mine);
      const held = mine.storage !== null && record?.paused !== true;
      const conditions = [
        held ? storageCondition(mine.storage) : null,
        watchdogCondition(mine, record),
        frozenCondition(record),
        (await this.tpms.lost(mine)) ? tpmCondition : null,
      ].filter((c) => c !== null);
      return { ...base, phase, power: mine.power, exit: null, pid, conditions };
    }
    const phase = record === null ? 'ended' : idlePhase[record.state];
    const exit = record?.exit ?? null;
    return {
      ...base,
      phase,
      power: exit !== null && crashes.has(exit.reason) ? 'crashed' : 'off',
      exit,
      pid: null,
    };
  }
}

const crashes: ReadonlySet<string> = new Set(['guestCrash', 'hypervisorCrash', 'signalled', 'watchdog']);

const idlePhase: Readonly<Record<WorkloadRecord['state'], Phase>> = {
  prepared: 'preparing',
  starting: 'starting',
  started: 'ended',
  suspending: 'ended',
  suspended: 'running',
  restoring: 'running',
  ended: 'ended',
};

/** Record of a running machine whose own was lost. */
export function adoptedRecord(machine: Machine): WorkloadRecord {
  const { instanceId, epoch, uuid, power, storage, watchdog } = machine;
  const paused = power === 'paused' && storage === null && watchdog !== true;
  const now = {
    state: 'started',
    intent: 'none',
    bootId: bootId(),
    paused,
    exit: null,
    closed: false,
    memory: null,
    watchdog: null,
    cpuModel: null,
    expiredAt: null,
    frozenUntil: null,
    stilled: false,
  } as const;
  return { instanceId, epoch, uuid, ...now };
}
