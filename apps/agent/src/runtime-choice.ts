import { RuntimeError } from '@berth/runtime';
import type { Runtime } from '@berth/runtime';
import type { Journal, PlacementRecord } from './journal.js';
import type { AgentLog } from './log.js';
import type { Absent, Runtimes } from './runtimes.js';

/*
 * Which runtime has a placement. It is chosen once, when the placement is first prepared, and is on disk before that
 * runtime is asked for anything; from then on every step of the epoch goes to it, whatever the spec says meanwhile:
 *
 *   undefined   a journal of before: whoever holds it has it, so every runtime must have been asked first
 *   null        not chosen; nothing was made
 *   <name>      for the life of the epoch
 */
export class RuntimeChoice {
  constructor(
    private readonly o: {
      readonly runtimes: Runtimes;
      readonly journal: Pick<Journal, 'save'>;
      readonly log: AgentLog;
    },
  ) {}

  /** The runtime that has the placement, or would be asked first if it were chosen now; or why there is none now. */
  of(record: PlacementRecord): Runtime | Absent {
    const { runtimes } = this.o;
    const { isolation, driver } = record.assignment.workload;
    if (typeof record.runtime === 'string') return runtimes.named(record.runtime);
    const unknown =
      record.runtime === undefined ? runtimes.notReady(isolation) : runtimes.notAnswered(isolation);
    if (unknown !== null) return { absent: unknown };
    return runtimes.ready(isolation, driver)[0] ?? { absent: runtimes.absence(isolation, driver) };
  }

  /** The runtime that has the placement from now on. @throws RuntimeError hostFault when there is none now */
  async choose(record: PlacementRecord): Promise<Runtime> {
    const { isolation, driver } = record.assignment.workload;
    const asked = this.of(record);
    if ('absent' in asked) throw new RuntimeError('hostFault', asked.absent);
    if (typeof record.runtime === 'string') return asked;
    const chosen = await this.o.runtimes.choose(isolation, driver);
    if ('absent' in chosen) throw new RuntimeError('hostFault', chosen.absent);
    // Meanwhile a runtime may have said that it holds it.
    record.runtime ??= chosen.name;
    await this.o.journal.save(record.assignment.instanceId);
    return this.choose(record);
  }

  /** The runtime that was chosen. @throws RuntimeError notPrepared before the choice, hostFault while it is absent */
  chosen(record: PlacementRecord): Runtime {
    if (typeof record.runtime !== 'string')
      throw new RuntimeError('notPrepared', 'no runtime was chosen for it yet');
    const runtime = this.o.runtimes.named(record.runtime);
    if ('absent' in runtime)
      throw new RuntimeError(
        'hostFault',
        `${record.runtime}, which has epoch ${record.assignment.epoch}, is away: ${runtime.absent}`,
      );
    return runtime;
  }

  /** Every runtime that may hold something of the placement. @throws RuntimeError hostFault */
  holders(record: PlacementRecord): readonly Runtime[] {
    if (typeof record.runtime === 'string') return [this.chosen(record)];
    return this.o.runtimes.ready(record.assignment.workload.isolation);
  }

  /** This runtime holds the placement: it has it, if no other does. */
  claim(record: PlacementRecord, runtime: Runtime): boolean {
    if (typeof record.runtime === 'string') return record.runtime === runtime.name;
    record.runtime = runtime.name;
    const { instanceId } = record.assignment;
    this.o.journal
      .save(instanceId)
      .catch((err: unknown) => this.o.log.error({ instanceId, err }, 'the journal cannot be written'));
    return true;
  }
}
