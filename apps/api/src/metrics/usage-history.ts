import type { UsageAnswer } from '@berth/link';
import { guestUsedBytes } from '@berth/model';
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
 * What hosts and instances used in the last hour: in memory, as rates, some 15 KB for each instance. A restarted API asks the hosts
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
      // Never after now: the frame of a window ends with the second that is.
      const at = Math.floor((sample.at + shift) / 1000);
      this.cursors.set(hostId, sample.at);
      this.hostTake(hostId, at, sample.host);
      for (const usage of sample.instances) this.instanceTake(hostId, at, usage);
    }
    this.forget();
  }

  /** All null for what was never measured. */
  instance(id: InstanceId, window: Window): InstanceMetrics {
    const { times, from, count } = this.frame(window);
    const seen = this.instances.get(id);
    const all = this.means(seen, from, window.step, count, instanceColumns.length);
    const of = (name: InstanceColumn): Means => all[instanceColumns.indexOf(name)]!;
    const shown = (name: InstanceColumn): Means => of(name).map((v) => rounded(v, 1));
    // Both are rates over the same looks, so this is all the time of that step by all its operations.
    const mean = (time: InstanceColumn, operations: InstanceColumn): Means =>
      of(time).map((t, i) => {
        const n = of(operations)[i] ?? null;
        return t === null || n === null || n === 0 ? null : rounded(t / n / 1000, 3);
      });
    return {
      stepSeconds: window.step,
      times,
      cpuMillis: shown('cpu'),
      memoryBytes: shown('memory'),
      blockReadBytesPerSecond: shown('readBytes'),
      blockWriteBytesPerSecond: shown('writtenBytes'),
      networkReceiveBytesPerSecond: shown('receivedBytes'),
      networkTransmitBytesPerSecond: shown('sentBytes'),
      guestMemoryBytes: shown('guestMemory'),
      blockReadOperationsPerSecond: shown('reads'),
      blockWriteOperationsPerSecond: shown('writes'),
      blockFlushesPerSecond: shown('flushes'),
      blockReadMillis: mean('readMicros', 'reads'),
      blockWriteMillis: mean('writeMicros', 'writes'),
      blockFlushMillis: mean('flushMicros', 'flushes'),
      networkReceivePacketsPerSecond: shown('receivedPackets'),
      networkTransmitPacketsPerSecond: shown('sentPackets'),
    };
  }

  host(id: HostId, window: Window): HostMetrics {
    const { times, from, count } = this.frame(window);
    const all = this.means(this.hosts.get(id), from, window.step, count, 3);
    const [cpu, memory, disk] = all.map((column) => column.map((v) => rounded(v, 1)));
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
    const seen = before ?? { ring: new Ring(keptRows, instanceColumns.length), hostId, last: usage, at };
    const same = before !== undefined && before.last.epoch === usage.epoch;
    const seconds = same ? at - before.at : 0;
    seen.ring.push(
      at,
      instanceColumns.map((name) => cells[name](seen.last, usage, seconds)),
    );
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
  ): Means[] {
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

/** A column of the ring: from the look before, this one, and the seconds between them (0: they are of different runs). */
type Cell = (before: InstanceUsage, now: InstanceUsage, seconds: number) => number;

const grown =
  (of: (usage: InstanceUsage) => number | null | undefined): Cell =>
  (before, now, seconds) =>
    rate(of(before), of(now), seconds);

const cells = {
  cpu: (before, now, seconds) => rate(before.cpuMicros, now.cpuMicros, seconds) / 1000,
  memory: (_before, now) => now.memoryBytes,
  guestMemory: (_before, now) => guestUsedBytes(now.guest) ?? NaN,
  readBytes: grown((u) => u.blockReadBytes),
  writtenBytes: grown((u) => u.blockWriteBytes),
  receivedBytes: grown((u) => u.receivedBytes),
  sentBytes: grown((u) => u.sentBytes),
  reads: grown((u) => u.operations?.reads),
  writes: grown((u) => u.operations?.writes),
  flushes: grown((u) => u.operations?.flushes),
  readMicros: grown((u) => u.operations?.readMicros),
  writeMicros: grown((u) => u.operations?.writeMicros),
  flushMicros: grown((u) => u.operations?.flushMicros),
  receivedPackets: grown((u) => u.receivedPackets),
  sentPackets: grown((u) => u.sentPackets),
} satisfies Record<string, Cell>;
type InstanceColumn = keyof typeof cells;
const instanceColumns = Object.keys(cells) as InstanceColumn[];

type Means = (number | null)[];

const rounded = (value: number | null, digits: number): number | null =>
  value === null ? null : Number(value.toFixed(digits));

/** Growth per second; NaN where it is not known: the first look, another run (the counter is lower), no figure. */
function rate(before: number | null | undefined, now: number | null | undefined, seconds: number): number {
  if (before === null || before === undefined || now === null || now === undefined) return NaN;
  if (seconds <= 0 || now < before) return NaN;
  return (now - before) / seconds;
}
