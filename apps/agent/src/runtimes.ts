import type { Isolation, PlacementSpec } from '@berth/model';
import { RuntimeError, type Observation, type Runtime, type RuntimeProbe } from '@berth/runtime';
import { backoffMs } from './clock.js';
import type { Clock } from './clock.js';
import type { AgentLog } from './log.js';

type Driver = PlacementSpec['driver'];

/** Why a runtime cannot be asked now. */
export interface Absent {
  readonly absent: string;
}

/** A runtime that is asked whether it answers gets so long, milliseconds. */
const answerMs = 2_000;

/** A runtime that may not be there yet: libvirt's socket may appear later, or go and come back. */
interface Slot {
  readonly runtime: Runtime;
  probe: RuntimeProbe | null;
  /** Asked what it holds, and listened to since. */
  ready: boolean;
  absent: string;
  /** It was ready once, or said why it is not. */
  readonly answered: Promise<void>;
  hasAnswered: boolean;
  readonly answer: () => void;
}

export interface RuntimeEvents {
  observed(runtime: Runtime, seen: Observation): void;
  /** Everything a runtime holds now. */
  recovered(runtime: Runtime, all: readonly Observation[]): void;
  /** A probe gave another answer than before. */
  probed(): void;
}

/** Probes, recovers and listens to every runtime of this host, again and again until it works. */
export class Runtimes {
  private readonly slots: Slot[];
  private readonly loops: Promise<void>[] = [];
  private readonly life = new AbortController();

  constructor(
    runtimes: readonly Runtime[],
    private readonly clock: Clock,
    private readonly log: AgentLog,
  ) {
    this.slots = runtimes.map((runtime) => {
      let resolve = (): void => undefined;
      const answered = new Promise<void>((done) => (resolve = done));
      const answer = (): void => {
        slot.hasAnswered = true;
        resolve();
      };
      const unknown = { probe: null, ready: false, hasAnswered: false, absent: 'not probed yet' };
      const slot: Slot = { runtime, ...unknown, answered, answer };
      return slot;
    });
  }

  /** Resolves once every runtime is ready or has said why it is not: from then on the host's facts are true. */
  async answered(): Promise<void> {
    await Promise.all(this.slots.map((slot) => slot.answered));
  }

  start(events: RuntimeEvents): void {
    for (const slot of this.slots) this.loops.push(this.attend(slot, events));
  }

  async close(): Promise<void> {
    this.life.abort();
    await Promise.all(this.loops);
  }

  /** The runtime of that name once it is ready, or why it is not. */
  named(name: string): Runtime | Absent {
    const slot = this.slots.find((s) => s.runtime.name === name);
    if (slot === undefined)
      return { absent: `${name} is not among the runtimes of this host's configuration` };
    return slot.ready ? slot.runtime : { absent: slot.absent };
  }

  /** Runtimes that are ready, the preferred one first; those of one isolation and driver, or all. */
  ready(isolation: Isolation | null = null, driver: Driver = 'any'): readonly Runtime[] {
    return this.fit(isolation, driver)
      .filter((s) => s.ready)
      .map((s) => s.runtime);
  }

  /**
   * The runtime that is to make a workload: the first that answers now, since one that was ready may be gone by now.
   * Whoever is the only one left need not be asked.
   */
  async choose(isolation: Isolation, driver: Driver): Promise<Runtime | Absent> {
    const fit = [...this.ready(isolation, driver)];
    const last = fit.pop();
    for (const runtime of fit) if (await this.answers(runtime)) return runtime;
    return last ?? { absent: this.absence(isolation, driver) };
  }

  /** Why no runtime is ready for it. */
  absence(isolation: Isolation, driver: Driver): string {
    const fit = this.fit(isolation, driver);
    if (fit.length === 0)
      return `no runtime${driver === 'any' ? '' : ` ${driver}`} for isolation ${isolation} on this host`;
    return fit.map((s) => (fit.length === 1 ? s.absent : `${s.runtime.name}: ${s.absent}`)).join('; ');
  }

  /** Runtimes by isolation, where every one of it is ready: only together do they tell what is on this host. */
  groups(): readonly (readonly Runtime[])[] {
    const isolations = new Set(this.slots.flatMap(({ runtime }) => runtime.isolations));
    const groups = [...isolations].filter((i) => this.notReady(i) === null).map((i) => this.ready(i));
    const names = (group: readonly Runtime[]): string => group.map((r) => r.name).join();
    return groups.filter((group, n) => groups.findIndex((g) => names(g) === names(group)) === n);
  }

  /** Why not every runtime of an isolation was asked what it holds, or null. */
  notReady(isolation: Isolation): string | null {
    const missing = this.fit(isolation, 'any').find((s) => !s.ready);
    return missing === undefined ? null : `${missing.runtime.name}: ${missing.absent}`;
  }

  /** Why not every runtime of an isolation is known to be there or not, or null. */
  notAnswered(isolation: Isolation): string | null {
    const missing = this.fit(isolation, 'any').find((s) => !s.hasAnswered);
    return missing === undefined ? null : `${missing.runtime.name}: ${missing.absent}`;
  }

  private fit(isolation: Isolation | null, driver: Driver): readonly Slot[] {
    return this.slots.filter(
      ({ runtime }) =>
        (isolation === null || runtime.isolations.includes(isolation)) &&
        (driver === 'any' || runtime.name === driver),
    );
  }

  private async answers(runtime: Runtime): Promise<boolean> {
    const answered = new AbortController();
    const probe = runtime.probe().then(
      ({ ok }) => ok,
      () => false,
    );
    const late = this.clock.sleep(answerMs, answered.signal).then(() => false);
    try {
      return await Promise.race([probe, late]);
    } finally {
      answered.abort();
    }
  }

  /** What each runtime said of itself; null before its first probe. */
  probes(): readonly {
    readonly runtime: Runtime;
    readonly probe: RuntimeProbe | null;
    readonly ready: boolean;
  }[] {
    return this.slots;
  }

  private async attend(slot: Slot, events: RuntimeEvents): Promise<void> {
    const { signal } = this.life;
    let attempt = 0;
    while (!signal.aborted) {
      const turn = new AbortController();
      const stop = (): void => turn.abort();
      signal.addEventListener('abort', stop, { once: true });
      try {
        if (await this.probe(slot, events)) {
          await this.listen(slot, events, turn.signal, () => (attempt = 0));
        }
      } catch (err) {
        this.log.warn({ err, runtime: slot.runtime.name }, 'the runtime failed; it is asked again');
        slot.absent = err instanceof Error ? err.message : String(err);
      }
      signal.removeEventListener('abort', stop);
      turn.abort();
      // Whoever waits for its first answer hears of it also when it is "no".
      const news = slot.ready || !slot.hasAnswered;
      slot.ready = false;
      slot.answer();
      if (news) events.probed();
      await this.clock.sleep(backoffMs(this.clock, attempt++, 500, 15_000), signal);
    }
  }

  private async probe(slot: Slot, events: RuntimeEvents): Promise<boolean> {
    const before = JSON.stringify(slot.probe);
    slot.probe = await slot.runtime.probe().catch((e: unknown): RuntimeProbe => ({
      ok: false,
      reason: e instanceof Error ? e.message : String(e),
      facets: [],
      facts: {},
    }));
    if (!slot.probe.ok) slot.absent = slot.probe.reason ?? 'the probe failed';
    void this.settle(slot, slot.probe, events);
    if (!slot.probe.ok && JSON.stringify(slot.probe) !== before) events.probed();
    return slot.probe.ok;
  }

  /** A measurement that takes long is not waited for; its answer is said when it comes. */
  private async settle(slot: Slot, early: RuntimeProbe, events: RuntimeEvents): Promise<void> {
    try {
      const full = await early.later;
      if (full === undefined || slot.probe !== early || this.life.signal.aborted) return;
      slot.probe = full;
      events.probed();
    } catch (err) {
      this.log.warn({ err, runtime: slot.runtime.name }, 'a measurement of the runtime failed');
    }
  }

  /** Listens first, then asks for everything: what happens in between is heard after it was read, never lost. */
  private async listen(
    slot: Slot,
    events: RuntimeEvents,
    signal: AbortSignal,
    healthy: () => void,
  ): Promise<void> {
    const changes = slot.runtime.observe(signal)[Symbol.asyncIterator]();
    let next = changes.next();
    next.catch(() => undefined);
    const all = await slot.runtime.recover();
    slot.ready = true;
    slot.answer();
    healthy();
    events.recovered(slot.runtime, all);
    events.probed();
    for (;;) {
      const change = await next;
      if (change.done === true) return;
      events.observed(slot.runtime, change.value);
      next = changes.next();
    }
  }
}

/** The preferred runtime of virtual machines that is ready and can do it. @throws RuntimeError unsupported */
export function ableTo<Ability extends keyof Runtime>(
  runtimes: Pick<Runtimes, 'ready'>,
  ability: Ability,
  does: string,
): Runtime & Required<Pick<Runtime, Ability>> {
  const able = runtimes
    .ready('vm')
    .find((r): r is Runtime & Required<Pick<Runtime, Ability>> => r[ability] !== undefined);
  if (able === undefined) throw new RuntimeError('unsupported', `no runtime of this host ${does}`);
  return able;
}
