import {
  healthyType,
  notReadyType,
  ProbeKind,
  readyType,
  unhealthyType,
  type Condition,
  type ProbeSpec,
} from '@berth/model';
import type { Clock, Slots } from './clock.js';
import type { Journal, PlacementRecord } from './journal.js';
import type { AgentLog } from './log.js';
import { probeAsk, type Answer, type ProbeTarget } from './probe-check.js';
import { counted, uncounted, type Verdict } from './probe-count.js';

/** How many probes of one host are asked at a time: an exec costs a start of the container runtime. */
export const probesAtOnce = 8;

export interface HealthPorts {
  readonly clock: Clock;
  readonly journal: Pick<Journal, 'save'>;
  readonly log: AgentLog;
  /** Shared by all placements of the host. */
  readonly probeSlots: Slots;
}

/**
 * Asks the probes of one placement while it runs. What they came to is in the placement's record, so a new agent goes on
 * from there, with no API about:
 *
 *   run begins -> startup (while there is one) -> readiness and liveness, each at its own pace, one question at a time
 *                    | fails                        | liveness fails
 *                    +----------> record.unhealthy <+   where the restart policy starts it again: the worker ends the run
 */
export class PlacementHealth {
  private asking: { readonly text: string; readonly over: AbortController } | null = null;
  private loops = new Set<Promise<void>>();

  /** @param changed the record says something new */
  constructor(
    private readonly record: PlacementRecord,
    private readonly ports: HealthPorts,
    private readonly changed: () => void,
  ) {}

  /** What the probes say of the run. */
  get conditions(): readonly Condition[] {
    return this.record.health?.conditions ?? [];
  }

  /** Asks it, and anew when what is asked or the run is another one; null: it is not to be asked now. */
  follow(target: ProbeTarget | null): void {
    const { assignment, run } = this.record;
    const probes = assignment.workload.probes;
    const text =
      target === null || probes === undefined ? null : JSON.stringify([run, probes, target.address]);
    if (this.asking?.text === text) return;
    if (text === null && this.asking === null) return this.forgetUnasked();
    this.asking?.over.abort();
    this.asking = null;
    this.forgetUnasked();
    if (text === null || target === null) return;
    const over = new AbortController();
    this.asking = { text, over };
    this.spawn(this.ask(target, over.signal));
  }

  /** Ends the questions, not the workload. */
  async close(): Promise<void> {
    this.asking?.over.abort();
    await Promise.all(this.loops);
  }

  /** What no probe asks any more is not said any more. */
  private forgetUnasked(): void {
    const { probes = {} } = this.record.assignment.workload;
    const health = this.record.health;
    if (health === undefined) return;
    const lively = probes.liveness !== undefined || probes.startup !== undefined;
    const left = health.conditions.filter(({ type }) =>
      type === healthyType || type === unhealthyType ? lively : probes.readiness !== undefined,
    );
    if (left.length === health.conditions.length) return;
    this.record.health = { ...health, conditions: left };
    this.note();
  }

  private async ask(target: ProbeTarget, signal: AbortSignal): Promise<void> {
    const { probes = {} } = this.record.assignment.workload;
    if (probes.startup !== undefined && this.record.health?.started !== true)
      await this.loop('startup', probes.startup, target, signal);
    if (signal.aborted) return;
    for (const kind of ['readiness', 'liveness'] as const) {
      const probe = probes[kind];
      if (probe !== undefined) this.spawn(this.loop(kind, probe, target, signal));
    }
  }

  /** Asks one probe until the signal fires, or until a start-up probe was answered well. */
  private async loop(
    kind: ProbeKind,
    probe: ProbeSpec,
    target: ProbeTarget,
    signal: AbortSignal,
  ): Promise<void> {
    const { clock } = this.ports;
    const need = { successThreshold: 1, ...probe };
    let count = uncounted(this.verdict(kind));
    let lingers = false;
    while (!signal.aborted) {
      // While it is committed it stands still: no answer, or a program that does not end, is not its fault then.
      const held = (): boolean => target.runtime.layers?.holds(target.key) === true;
      const stood = held();
      const told = lingers ? stillThere : await this.once(probe, target, signal, (l) => (lingers = l));
      if (signal.aborted) return;
      const answer: Answer = told.kind === 'bad' && (stood || held()) ? { kind: 'none' } : told;
      if (answer.kind !== 'none') {
        const before = count.verdict;
        count = counted(count, answer.kind === 'good', need, this.forgiven(probe));
        if (count.verdict !== before)
          this.say(kind, count.verdict, answer.kind === 'bad' ? answer.message : '');
        if (kind === 'startup' && count.verdict === 'good') return;
      }
      await clock.sleep(probe.intervalSeconds * 1000 * (0.95 + clock.random() / 10), signal);
    }
  }

  private async once(
    probe: ProbeSpec,
    target: ProbeTarget,
    signal: AbortSignal,
    lingers: (still: boolean) => void,
  ): Promise<Answer> {
    const { clock, probeSlots, log } = this.ports;
    try {
      return await probeSlots.run(signal, async () => {
        const late = new AbortController();
        const timer = new AbortController();
        const give = (): void => late.abort();
        signal.addEventListener('abort', give, { once: true });
        void clock.sleep(probe.timeoutSeconds * 1000, timer.signal).then(give);
        try {
          const { answer, over } = await probeAsk(probe, target, late.signal);
          lingers(true);
          void over.then(() => lingers(false));
          return answer;
        } finally {
          timer.abort();
          signal.removeEventListener('abort', give);
        }
      });
    } catch (err) {
      if (!signal.aborted) log.warn({ ...target.key, err }, 'a probe could not be asked');
      return { kind: 'none' };
    }
  }

  private forgiven(probe: ProbeSpec): boolean {
    const started = this.record.started?.at;
    if (!('startPeriodSeconds' in probe) || started === undefined) return false;
    return this.ports.clock.now().getTime() < Date.parse(started) + probe.startPeriodSeconds * 1000;
  }

  /** What was said of it before: an earlier agent may have. */
  private verdict(kind: ProbeKind): Verdict {
    const said = (type: string): boolean => this.conditions.some((c) => c.type === type);
    const [good, bad] =
      kind === 'readiness' ? [readyType, notReadyType] : ([healthyType, unhealthyType] as const);
    return said(good) ? 'good' : said(bad) ? 'bad' : 'unknown';
  }

  private say(kind: ProbeKind, verdict: Verdict, message: string): void {
    const { record } = this;
    const good = verdict === 'good';
    const at = this.ports.clock.now().toISOString();
    const type =
      kind === 'readiness' ? (good ? readyType : notReadyType) : good ? healthyType : unhealthyType;
    const both = kind === 'readiness' ? [readyType, notReadyType] : [healthyType, unhealthyType];
    const restarts = record.assignment.workload.restart.policy !== 'never';
    const ends = !good && kind !== 'readiness' && restarts;
    const condition: Condition = {
      type,
      reason: good ? 'ProbeSucceeded' : 'ProbeFailed',
      message: good ? `its ${kind} probe is answered` : `its ${kind} probe failed: ${message}`,
      since: at,
      ...(good || kind === 'readiness' || restarts ? {} : { remedy: runsOn }),
    };
    record.health = {
      started: record.health?.started === true || (kind === 'startup' && good),
      conditions: [...this.conditions.filter((c) => !both.includes(c.type)), condition],
    };
    if (ends) record.unhealthy ??= { message: condition.message, at };
    this.note();
  }

  /** On disk before it is acted upon: a new agent ends what was found unhealthy, and asks nobody again. */
  private note(): void {
    this.ports.journal
      .save(this.record.assignment.instanceId)
      .catch((err: unknown) => this.ports.log.error({ err }, 'the journal cannot be written'))
      .finally(this.changed);
  }

  private spawn(work: Promise<void>): void {
    const loop = work
      .catch((err: unknown) => this.ports.log.error({ err }, 'probes are not asked any more'))
      .finally(() => this.loops.delete(loop));
    this.loops.add(loop);
  }
}

const runsOn = 'restart it; with restart.policy onFailure or always its host does';
/** No program is put beside one that does not end. */
const stillThere: Answer = {
  kind: 'bad',
  message: 'the program of the question before has not ended, or what it started holds its output',
};
