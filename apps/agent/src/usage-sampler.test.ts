import type { InstanceId, Usage } from '@berth/model';
import type { Runtime, WorkloadKey } from '@berth/runtime';
import { describe, expect, it } from 'vitest';
import { UsageSampler } from './usage-sampler.js';

const key = (n: number): WorkloadKey => ({
  instanceId: `00000000-0000-4000-8000-${String(n).padStart(12, '0')}` as InstanceId,
  epoch: 1,
});
const used: Usage = { cpuMicros: 1, memoryBytes: 2, blockReadBytes: 3, blockWriteBytes: null };
const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

function sampler(usage: () => Promise<readonly (WorkloadKey & Usage)[]>) {
  let now = 1000;
  const broken = { name: 'broken', usage: () => Promise.reject(new Error('away')) };
  const runtimes = { ready: () => [broken, { name: 'good', usage }] as unknown as Runtime[] };
  const networks = { traffic: () => Promise.resolve([{ ...key(1), receivedBytes: 7, sentBytes: 8 }]) };
  const clock = { now: () => new Date(now), sleep: () => Promise.resolve(), random: () => 0 };
  const machine = () => Promise.resolve({ cpuMicros: 1, memoryBytes: 1, diskBytes: 1 });
  const made = new UsageSampler({ clock, log, runtimes, networks, machine });
  return { made, at: (ms: number) => (now = ms) };
}

describe('the sampler of a host', () => {
  it('joins what runtimes and nics say, and leaves out a runtime that fails', async () => {
    const { made } = sampler(() =>
      Promise.resolve([
        { ...key(1), ...used },
        { ...key(2), ...used },
      ]),
    );
    await made.look();
    const [sample] = made.since(0).samples;
    expect(sample?.instances).toEqual([
      { ...key(1), ...used, receivedBytes: 7, sentBytes: 8 },
      { ...key(2), ...used, receivedBytes: 0, sentBytes: 0 },
    ]);
  });
  it('tells each disk and nic of the newest look, and all together of those before', async () => {
    const did = { reads: 1, writes: 2, flushes: 3, readMicros: 4, writeMicros: 5, flushMicros: 6 };
    const disks = [{ volumeId: null, readBytes: 3, writtenBytes: 4, ...did }];
    const { made } = sampler(() => Promise.resolve([{ ...key(1), ...used, operations: did, disks }]));
    await made.look();
    await made.look();
    const [before, now] = made.since(0).samples.map((s) => s.instances[0]);
    expect([before?.disks, now?.disks]).toEqual([undefined, disks]);
    expect([before?.operations, now?.operations]).toEqual([did, did]);
  });
  it('keeps an hour and gives what came after a time', async () => {
    const { made, at } = sampler(() => Promise.resolve([]));
    for (let i = 1; i <= 300; i++) {
      at(i * 15_000);
      await made.look();
    }
    expect(made.since(0)).toMatchObject({ now: 4_500_000, more: false });
    expect(made.since(0).samples).toHaveLength(240);
    expect(made.since(299 * 15_000).samples.map((s) => s.at)).toEqual([4_500_000]);
  });
  it('gives large histories in parts, and keeps fewer of them', async () => {
    const many = Array.from({ length: 9000 }, (_, n) => ({ ...key(n), ...used }));
    const { made, at } = sampler(() => Promise.resolve(many));
    for (let i = 1; i <= 20; i++) {
      at(i);
      await made.look();
    }
    const first = made.since(0);
    expect([first.samples.length, first.more]).toEqual([2, true]);
    expect(made.since(20 - 1).more).toBe(false);
    expect(made.since(0).samples[0]?.at).toBe(20 - 11 + 1);
  });
  it('goes on when the clock is set back', async () => {
    const { made, at } = sampler(() => Promise.resolve([]));
    await made.look();
    at(10);
    await made.look();
    expect(made.since(1000).samples).toHaveLength(1);
  });
});
