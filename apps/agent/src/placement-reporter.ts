import type { Condition, Phase } from '@berth/model';
import { phaseRank } from '@berth/model';
import type { PlacementFacts } from './placement-facts.js';
import { restartAt, runs } from './step.js';
import type { Action } from './step.js';
import type { WorkerPorts } from './worker-ports.js';

/** Says where one placement is, once per change. */
export class PlacementReporter {
  private said = '';
  /** The furthest phase said of a run; within a run it never goes back. */
  private furthest: { run: number; phase: Phase } = { run: 0, phase: 'assigned' };

  constructor(private readonly ports: Pick<WorkerPorts, 'clock' | 'report'>) {}

  /** A new session hears it again. */
  forget(): void {
    this.said = '';
  }

  say(facts: PlacementFacts, action: Action['kind'], fault: Condition | null): void {
    const { record } = facts;
    if (facts.power === null && !record.ended && record.started !== null) return;
    let phase = phaseOf(facts, action);
    if (this.furthest.run === record.run && phaseRank(this.furthest.phase) > phaseRank(phase))
      phase = this.furthest.phase;
    this.furthest = { run: record.run, phase };
    const restarting = restartingOf(facts);
    const body = {
      kind: 'placement' as const,
      ...facts.key,
      run: record.run,
      phase,
      power: record.ended ? ('off' as const) : facts.observedPower,
      exit: record.exit ?? record.lastExit,
      driver: record.runtime ?? null,
      revision: facts.revision,
      volumes: record.ended ? [] : facts.volumes === null ? null : [...facts.volumes],
      nics: record.ended ? [] : facts.nics === null ? null : [...facts.nics],
      cdroms: record.ended ? [] : facts.cdroms === null ? null : [...facts.cdroms],
      vsockCid: record.ended ? null : facts.vsockCid,
      numaHostNodes: record.ended || facts.numaHostNodes === null ? null : [...facts.numaHostNodes],
      uidRange: facts.uidRange,
      sizes: record.ended ? null : facts.sizes,
      conditions: [
        fault,
        restarting,
        runs(facts.power) ? facts.restart : null,
        ...facts.health,
        ...facts.conditions,
      ].filter((c) => c !== null),
    };
    const text = JSON.stringify(body);
    if (text === this.said) return;
    this.said = text;
    const { spans } = facts.watch;
    const timed = spans.length === 0 ? {} : { spans: [...spans] };
    this.ports.report({ ...body, ...timed, observedAt: this.ports.clock.now().toISOString() });
  }
}

function phaseOf({ record, power }: PlacementFacts, action: Action['kind']): Phase {
  if (record.ended) return 'ended';
  if (action === 'stop' || action === 'remove') return 'stopping';
  if (runs(power)) return 'running';
  // A crash restart is "running" with a condition: it needs no operation.
  if (record.run > 1 || record.exit !== null) return 'running';
  if (action === 'start') return 'starting';
  if (action === 'none' || (power === null && action === 'wait')) return 'assigned';
  return 'preparing';
}

function restartingOf({ record, power, restartsInARow }: PlacementFacts): Condition | null {
  const { exit, assignment, run, ended, lastExit } = record;
  const cause = exit ?? lastExit;
  const up = runs(power);
  if (ended || up || cause === null || (exit === null && run === 1) || assignment.wanted === 'stopped')
    return null;
  const until = exit === null ? null : restartAt(assignment.workload.restart, restartsInARow, exit);
  const when = until === null ? 'now' : `at ${new Date(until).toISOString()}`;
  const next = exit === null ? run : run + 1;
  return { type: 'Restarting', reason: cause.reason, message: `run ${next} begins ${when}`, since: cause.at };
}
