import type { HostId, InstanceId, InstanceUsage, UsageSample } from '@berth/model';
import { describe, expect, it } from 'vitest';
import { Ring } from './ring.js';
import { UsageHistory } from './usage-history.js';

const host = '00000000-0000-4000-8000-00000000000a' as HostId;
const id = (n: number): InstanceId => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}` as InstanceId;
const hour = { seconds: 3600, step: 30 };

class Lab {
  /** Of the API, seconds. Begins at the beginning of a step. */
  seconds = 1_800_000_000;
  /** What the host's clock is ahead, milliseconds. */
  ahead = 0;
  readonly history: UsageHistory;
  constructor(most = 10) {
    this.history = new UsageHistory({ now: () => new Date(this.seconds * 1000) }, most);
  }

  usage(n: number, epoch: number, cpuMicros: number, change: Partial<InstanceUsage> = {}): InstanceUsage {
    const block = { blockReadBytes: 0, blockWriteBytes: null };
    const all = { memoryBytes: 1024, ...block, receivedBytes: 0, sentBytes: 0 };
    return { instanceId: id(n), epoch, cpuMicros, ...all, ...change };
  }
  /** A look now, and its answer at once. */
  look(...instances: InstanceUsage[]): void {
    this.takeAt(this.seconds, instances);
  }
  takeAt(seconds: number, instances: InstanceUsage[]): void {
    const sample: UsageSample = {
      at: seconds * 1000 + this.ahead,
      host: { cpuMicros: 0, memoryBytes: 1, diskBytes: 1 },
      instances,
    };
    this.history.take(host, { now: this.seconds * 1000 + this.ahead, samples: [sample], more: false });
  }
}

describe('the history of an instance', () => {
  it('is rates between two looks: half a processor is 500', () => {
    const lab = new Lab();
    lab.look(lab.usage(1, 1, 0, { receivedBytes: 100 }));
    lab.seconds += 15;
    lab.look(lab.usage(1, 1, 7_500_000, { receivedBytes: 1600 }));
    const m = lab.history.instance(id(1), hour);
    expect(m.times).toHaveLength(120);
    expect(m.times.at(-1)).toBe(1_800_000_000);
    expect([m.cpuMillis.at(-1), m.networkReceiveBytesPerSecond.at(-1), m.memoryBytes.at(-1)]).toEqual([
      500, 100, 1024,
    ]);
    expect([m.cpuMillis.at(-2), m.blockWriteBytesPerSecond.at(-1)]).toEqual([null, null]);
  });
  it('has the mean time of a disk operation: all the time of a step by all its operations', () => {
    const lab = new Lab();
    const operations = (writes: number, writeMicros: number) => ({
      ...{ reads: 0, flushes: 0, readMicros: 0, flushMicros: 0 },
      ...{ writes, writeMicros },
    });
    const look = (writes: number, writeMicros: number) => {
      lab.seconds += 15;
      lab.look(lab.usage(1, 1, 0, { operations: operations(writes, writeMicros) }));
    };
    look(0, 0);
    // 300 of 1 ms, then one of 200 ms, within one step: not (1 + 200) / 2.
    look(300, 300_000);
    look(301, 500_000);
    look(301, 500_000);
    const told = lab.history.instance(id(1), hour);
    expect(told.blockWriteMillis.slice(-2)).toEqual([1.661, null]);
    expect(told.blockReadMillis.at(-2)).toBeNull();
    expect(told.blockWriteOperationsPerSecond.slice(-2)).toEqual([10, 0]);
  });
  it("has a guest's memory as it told, and nothing where it has not told lately", () => {
    const lab = new Lab();
    for (const ageMs of [3_000, 61_000]) {
      lab.look(lab.usage(1, 1, 0, { guest: { ageMs, sizeBytes: 900, availableBytes: 300 } }));
      lab.seconds += 30;
    }
    lab.look();
    expect(lab.history.instance(id(1), hour).guestMemoryBytes.slice(-3)).toEqual([600, null, null]);
  });
  it('has nothing of what an older agent does not tell', () => {
    const lab = new Lab();
    lab.look(lab.usage(1, 1, 0));
    lab.seconds += 15;
    lab.look(lab.usage(1, 1, 0));
    const told = lab.history.instance(id(1), hour);
    expect(new Set([...told.blockReadMillis, ...told.networkReceivePacketsPerSecond])).toEqual(
      new Set([null]),
    );
  });
  it('does not take a counter that began anew for a rate', () => {
    const lab = new Lab();
    lab.look(lab.usage(1, 1, 9_000_000));
    lab.seconds += 30;
    lab.look(lab.usage(1, 1, 1_000_000));
    lab.seconds += 30;
    lab.look(lab.usage(1, 2, 5_000_000));
    lab.seconds += 30;
    lab.look(lab.usage(1, 2, 35_000_000));
    expect(lab.history.instance(id(1), hour).cpuMillis.slice(-4)).toEqual([null, null, null, 1000]);
  });
  it('stands at the times of our clock, whatever the host says the time is', () => {
    const lab = new Lab();
    lab.ahead = 3_600_000;
    lab.look(lab.usage(1, 1, 0));
    expect(lab.history.instance(id(1), hour).memoryBytes.at(-1)).toBe(1024);
    expect(lab.history.cursor(host)).toBe(lab.seconds * 1000 + lab.ahead);
  });
  it('has a look of the last moment of a step in that step, not in one that has not begun', () => {
    const lab = new Lab();
    lab.seconds += 29.9;
    lab.look(lab.usage(1, 1, 0));
    expect(lab.history.instance(id(1), hour).memoryBytes.at(-1)).toBe(1024);
  });
  it('is filled from what the host kept while we were away', () => {
    const lab = new Lab();
    for (let ago = 3000; ago >= 0; ago -= 15)
      lab.takeAt(lab.seconds - ago, [lab.usage(1, 1, (3000 - ago) * 1e6)]);
    const known = lab.history.instance(id(1), hour).cpuMillis.filter((v) => v !== null);
    expect(known).toHaveLength(101);
    expect(new Set(known)).toEqual(new Set([1000]));
  });
  it('is gone after an hour of silence, and tells nothing of now after a minute', () => {
    const lab = new Lab(1);
    lab.look(lab.usage(1, 1, 0));
    expect([...lab.history.latest()]).toHaveLength(1);
    lab.seconds += 61;
    lab.look(lab.usage(2, 1, 0));
    expect([...lab.history.latest()]).toEqual([]);
    lab.seconds += 3600;
    lab.look();
    lab.look(lab.usage(2, 1, 0));
    expect([...lab.history.latest()].map((l) => l.usage.instanceId)).toEqual([id(2)]);
  });
});

describe('a ring', () => {
  it('keeps the newest rows only', () => {
    const ring = new Ring(3, 1);
    for (let at = 0; at < 5; at++) ring.push(at, [at]);
    expect(ring.means(0, 1, 5)).toEqual([[null, null, 2, 3, 4]]);
    expect(ring.means(0, 5, 1)).toEqual([[3]]);
  });
});
