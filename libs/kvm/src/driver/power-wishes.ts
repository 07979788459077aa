import { RuntimeError, type StepContext, type WorkloadKey } from '@berth/runtime';
import { runningOf, runningOn, type Machine, type MachineDriver } from './machine-driver.js';
import { adoptedRecord, type Settlement } from './settlement.js';
import { isSuspended, isSuspending, refuseSuspended, type Suspension } from './suspension.js';
import { refuseTpmLost, type TpmWatch } from '../tpm/tpm-watch.js';
import type { WorkloadRecord, WorkloadRecords } from './workload-record.js';

/** What a guest that stands still waits for at most, whoever asks. */
const STIR_MS = 30_000;

const stirBounds = (): StepContext => ({
  signal: AbortSignal.timeout(STIR_MS),
  deadline: Date.now() + STIR_MS,
});

/** What is asked of a machine that is up, and changes nothing of its run. Calls come with the instance's lock held. */
export class PowerWishes<M extends Machine> {
  constructor(
    private readonly driver: MachineDriver<M>,
    private readonly records: WorkloadRecords,
    private readonly suspension: Suspension<M>,
    private readonly settlement: Settlement<M>,
    private readonly tpms: Pick<TpmWatch<M>, 'lost'>,
  ) {}

  async pause(key: WorkloadKey, ctx: StepContext): Promise<void> {
    const machine = await this.#wishPaused(key, true, ctx);
    if (machine.power !== 'paused') await this.driver.pause(machine, ctx);
  }

  async resume(key: WorkloadKey, ctx: StepContext): Promise<void> {
    const machine = await this.#wishPaused(key, false, ctx);
    if (machine.power === 'paused') await this.driver.resume(machine, ctx);
  }

  /** @throws RuntimeError notPrepared when it does not run, is paused, about to be suspended, or has lost its TPM */
  async reset(key: WorkloadKey, ctx: StepContext): Promise<void> {
    const found = await this.driver.find(key, ctx.signal);
    refuseSuspended(await this.settlement.settle(key, found));
    const machine = runningOn(key, found);
    refuseTpmLost(await this.tpms.lost(machine), 'QEMU would end at a reset');
    // One that its watchdog paused goes on for that: of a machine that stands still QEMU would forget that its guest has run.
    if (machine.watchdog === true) await this.driver.resume(await this.#wishPaused(key, false, ctx), ctx);
    else if (machine.power === 'paused')
      throw new RuntimeError('notPrepared', 'the machine is paused', {
        remedy: 'Resume the instance first.',
      });
    await this.driver.reset(machine, ctx);
    // What was frozen begins anew.
    const known = await this.records.read(key);
    if (known !== null && known.frozenUntil !== null)
      await this.records.write({ ...known, frozenUntil: null });
  }

  /** Its record, to be told of what is done in its guest. @throws RuntimeError notPrepared when it does not run, or is paused */
  async recordOfRunning(key: WorkloadKey): Promise<WorkloadRecord> {
    const found = await this.driver.find(key);
    const record = await this.settlement.settle(key, found);
    if (isSuspended(record)) throw new RuntimeError('notPrepared', 'the instance is suspended');
    const machine = runningOn(key, found);
    if (machine.power === 'paused') throw new RuntimeError('notPrepared', 'the machine is paused');
    return record ?? adoptedRecord(machine);
  }

  /** Its watchdog expired, and it goes on. */
  async expired(key: WorkloadKey, at: Date): Promise<void> {
    const record = await this.records.read(key);
    if (record?.state === 'started') await this.records.write({ ...record, expiredAt: at.toISOString() });
  }

  /** The instance's machine; one that was left standing still for a snapshot of its memory goes on again. */
  async stirred(key: WorkloadKey, signal?: AbortSignal): Promise<M | null> {
    const machine = await this.driver.find(key, signal);
    const record = await this.records.read(key);
    if (record?.stilled !== true || machine?.guessed === true) return machine;
    const running = runningOf(machine);
    if (running?.epoch === key.epoch && running.power === 'paused') {
      await this.driver.unsave(running);
      // Somebody may have asked for a pause since.
      if (!record.paused) await this.driver.resume(running, stirBounds());
    }
    await this.records.write({ ...record, stilled: false });
    return this.driver.find(key, signal);
  }

  /** The instance's machine, once no attempt to suspend it is under way: it was given up, or came to its end before. */
  async calm(key: WorkloadKey, ctx: StepContext): Promise<M | null> {
    const machine = await this.stirred(key, ctx.signal);
    const record = await this.records.read(key);
    const running = runningOf(machine);
    if (running?.epoch !== key.epoch || record === null || !isSuspending(record)) return machine;
    await this.driver.unsave(running);
    return this.driver.find(key, ctx.signal);
  }

  /** Lets a machine go on that stands still only because its disk could not be written. */
  async goOn(key: WorkloadKey, ctx: StepContext): Promise<void> {
    const machine = await this.driver.find(key, ctx.signal);
    const paused = (await this.records.read(key))?.paused;
    const held = machine?.epoch === key.epoch && machine.storage !== null && paused !== true;
    if (held) await this.driver.resume(machine, ctx);
  }

  /** Writes the wish down before it is carried out: a machine paused on purpose is not to be taken for a stalled one. */
  async #wishPaused(key: WorkloadKey, paused: boolean, ctx: StepContext): Promise<M> {
    const found = await this.calm(key, ctx);
    const known = await this.settlement.settle(key, found);
    if (isSuspended(known)) throw new RuntimeError('notPrepared', 'the instance is suspended');
    const machine = runningOn(key, found);
    const record = known ?? adoptedRecord(machine);
    // To be suspended is no longer asked for.
    const wished = isSuspending(record)
      ? ({ ...record, state: 'started', paused } as const)
      : { ...record, paused };
    if (record.paused !== paused || isSuspending(record)) await this.records.write(wished);
    await this.suspension.forget(wished);
    return machine;
  }
}
