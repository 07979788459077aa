import type { UsageAnswer } from '@berth/link';
import type {
  HostId,
  HostMetrics,
  HostUsage,
  InstanceId,
  InstanceMetrics,
  InstanceUsage,
} from '@berth/model';
import type { Clock } from '../store/store.js';
import { Ring } from './ring.js';

/** What a plot asks for, seconds. */
export interface Window {
  readonly seconds: number;
  readonly step: number;
}

/** The newest figures of an instance, and who measured them. */
export interface LatestUsage {
  readonly hostId: HostId;
  readonly usage: InstanceUsage;
}

interface Seen<T> {
  readonly ring: Ring;
  hostId: HostId;
  last: T;
  /** Seconds of the API's clock. */
  at: number;
}

/** An hour of looks, 15 seconds apart, with room for a little more. */
const keptRows = 250;
const keptSeconds = 3600;
/** Figures older than this tell nothing of now, seconds. */
const freshSeconds = 60;

/**
 * What hosts and instances used in the last hour: in memory, as rates, some 7 KB for each. A restarted API asks the hosts
 * for what it missed (see `cursor`), so the hour is lost only where both sides are restarted.
 */
export class UsageHistory {
  private readonly instances = new Map<InstanceId, Seen<InstanceUsage>>();
  private readonly hosts = new Map<HostId, Seen<HostUsage>>();
  private readonly cursors = new Map<HostId, number>();

  constructor(
    private readonly clock: Clock,
    /** Histories kept at once; what comes on top has none until an older one is an hour old. */
    private readonly most: number,
  ) {}

  /** Time of a host's newest sample here, by the host's own clock, milliseconds; 0 when there is none. */
  cursor(hostId: HostId): number {
    return this.cursors.get(hostId) ?? 0;
  }

  /** Takes what a host measured. The host's clock may be wrong: times are shifted by what it differs from ours. */
  take(hostId: HostId, answer: UsageAnswer): void {
    const shift = this.now() * 1000 - answer.now;
    for (const sample of answer.samples) {
      const at = Math.round((sample.at + shift) / 1000);
      this.cursors.set(hostId, sample.at);
      this.hostTake(hostId, at, sample.host);
      for (const usage of sample.instances) this.instanceTake(hostId, at, usage);
    }
    this.forget();
  }

  /** All null for what was never measured. */
  instance(id: InstanceId, window: Window): InstanceMetrics {
    const { times, from, count } = this.frame(window);
    const [cpu, memory, read, write, received, sent] = this.means(
      this.instances.get(id),
      from,
      window.step,
      count,
      6,
    );
    return {
      stepSeconds: window.step,
      times,
      cpuMillis: cpu!,
      memoryBytes: memory!,
      blockReadBytesPerSecond: read!,
      blockWriteBytesPerSecond: write!,
      networkReceiveBytesPerSecond: received!,
      networkTransmitBytesPerSecond: sent!,
    };
  }

  host(id: HostId, window: Window): HostMetrics {
    const { times, from, count } = this.frame(window);
    const [cpu, memory, disk] = this.means(this.hosts.get(id), from, window.step, count, 3);
    return { stepSeconds: window.step, times, cpuMillis: cpu!, memoryBytes: memory!, diskBytes: disk! };
  }

  /** What runs now, by its newest sample. */
  *latest(): Generator<LatestUsage> {
    const oldest = this.now() - freshSeconds;
    for (const { hostId, last, at } of this.instances.values())
      if (at >= oldest) yield { hostId, usage: last };
  }

  *latestHosts(): Generator<{ readonly hostId: HostId; readonly usage: HostUsage }> {
    const oldest = this.now() - freshSeconds;
    for (const { hostId, last, at } of this.hosts.values()) if (at >= oldest) yield { hostId, usage: last };
  }

  private hostTake(hostId: HostId, at: number, usage: HostUsage): void {
    const before = this.hosts.get(hostId);
    const seen = before ?? { ring: new Ring(keptRows, 3), hostId, last: usage, at };
    const seconds = before === undefined ? 0 : at - before.at;
    seen.ring.push(at, [
      rate(before?.last.cpuMicros, usage.cpuMicros, seconds) / 1000,
      usage.memoryBytes,
      usage.diskBytes,
    ]);
    this.hosts.set(hostId, Object.assign(seen, { last: usage, at }));
  }

  private instanceTake(hostId: HostId, at: number, usage: InstanceUsage): void {
    const before = this.instances.get(usage.instanceId);
    if (before === undefined && this.instances.size >= this.most) return;
    // A migration's target counts anew, and its source may still be heard.
    if (before !== undefined && usage.epoch < before.last.epoch) return;
    const seen = before ?? { ring: new Ring(keptRows, 6), hostId, last: usage, at };
    const same = before !== undefined && before.last.epoch === usage.epoch;
    const seconds = same ? at - before.at : 0;
    const per = (of: (u: InstanceUsage) => number | null): number => rate(of(seen.last), of(usage), seconds);
    seen.ring.push(at, [
      per((u) => u.cpuMicros) / 1000,
      usage.memoryBytes,
      per((u) => u.blockReadBytes),
      per((u) => u.blockWriteBytes),
      per((u) => u.receivedBytes),
      per((u) => u.sentBytes),
    ]);
    this.instances.set(usage.instanceId, Object.assign(seen, { hostId, last: usage, at }));
  }

  private frame({ seconds, step }: Window): { times: number[]; from: number; count: number } {
    const count = Math.max(1, Math.floor(seconds / step));
    const from = (Math.floor(this.now() / step) - count + 1) * step;
    return { times: Array.from({ length: count }, (_, i) => from + i * step), from, count };
  }

  private means(
    seen: { readonly ring: Ring } | undefined,
    from: number,
    step: number,
    count: number,
    columns: number,
  ): (number | null)[][] {
    return (
      seen?.ring.means(from, step, count) ??
      Array.from({ length: columns }, () => Array.from({ length: count }, () => null))
    );
  }

  private forget(): void {
    const oldest = this.now() - keptSeconds;
    for (const [id, { at }] of this.instances) if (at < oldest) this.instances.delete(id);
    for (const [id, { at }] of this.hosts) if (at < oldest) this.hosts.delete(id);
  }

  private now(): number {
    return this.clock.now().getTime() / 1000;
  }
}

/** Growth per second; NaN where it is not known: the first look, another run (the counter is lower), no figure. */
function rate(before: number | null | undefined, now: number | null, seconds: number): number {
  if (before === null || before === undefined || now === null || seconds <= 0 || now < before) return NaN;
  return (now - before) / seconds;
}
