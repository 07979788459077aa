import type { Isolation } from '@berth/model';
import type { Observation, Runtime, RuntimeProbe } from '@berth/runtime';
import { backoffMs } from './clock.js';
import type { Clock } from './clock.js';
import type { AgentLog } from './log.js';

/** A runtime that may not be there yet: libvirt's socket may appear later, or go and come back. */
interface Slot {
  readonly runtime: Runtime;
  probe: RuntimeProbe | null;
  /** Asked what it holds, and listened to since. */
  ready: boolean;
  absent: string;
  /** It was ready once, or said why it is not. */
  readonly answered: Promise<void>;
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
      let answer = (): void => undefined;
      const answered = new Promise<void>((resolve) => (answer = resolve));
      return { runtime, probe: null, ready: false, absent: 'not probed yet', answered, answer };
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

  /** The runtime of an isolation once it is ready, or why it is not. */
  forIsolation(isolation: Isolation): Runtime | { readonly absent: string } {
    const fit = this.slots.filter((s) => s.runtime.isolations.includes(isolation));
    const ready = fit.find((s) => s.ready);
    if (ready !== undefined) return ready.runtime;
    return { absent: fit[0]?.absent ?? `no runtime for isolation ${isolation} on this host` };
  }

  /** Every runtime that is ready. */
  ready(): readonly Runtime[] {
    return this.slots.filter((s) => s.ready).map((s) => s.runtime);
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
      slot.answer();
      signal.removeEventListener('abort', stop);
      turn.abort();
      if (slot.ready) {
        slot.ready = false;
        events.probed();
      }
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
