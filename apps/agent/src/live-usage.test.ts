import { setMaxListeners } from 'node:events';
import type { ImageContent, InstanceId, Usage } from '@berth/model';
import { RuntimeError, type Runtime, type WorkloadKey } from '@berth/runtime';
import { StatsLine } from '@berth/link';
import { expect, test } from 'vitest';
import { LiveUsage } from './live-usage.js';
import type { Newest, OutOfReach } from './placements.js';

const instanceId = '6f1d2f7e-2a0b-4c57-9df5-7b7d4a2a1c11' as InstanceId;
const key = { instanceId, epoch: 3 };
const base: Usage = { cpuMicros: 1000, memoryBytes: 5000, blockReadBytes: 7, blockWriteBytes: null, pids: 4 };

/** A host on which time passes when somebody waits, unless a runtime hangs. */
class Lab {
  now = 1_000_000;
  looks = 0;
  used: Usage | null = base;
  usage: Runtime['usage'] = (of) => {
    this.looks += 1;
    return Promise.resolve(this.used === null ? [] : [{ ...(of as WorkloadKey), ...this.used }]);
  };
  newest: Newest | OutOfReach = this.placed(3);
  /** What happens while somebody waits. */
  meanwhile = (): void => undefined;
  readonly live = new LiveUsage({
    clock: {
      now: () => new Date(this.now),
      random: () => 0,
      sleep: async (ms, signal) => {
        if (ms === 10_000) await new Promise((resolve) => setImmediate(resolve));
        if (ms === 10_000 || signal?.aborted === true) return;
        this.now += ms;
        this.meanwhile();
      },
    },
    placements: { newest: () => this.newest },
    traffic: { traffic: () => Promise.resolve([{ ...key, receivedBytes: 11, sentBytes: 12 }]) },
  });
  placed(epoch: number): Newest {
    const runtime = { name: 'test', usage: (of) => this.usage?.(of) } as Runtime;
    return {
      key: { instanceId, epoch },
      runtime,
      image: {} as ImageContent,
      isolation: 'container',
      memoryMiB: 64,
    };
  }
  async open(everyMs?: number, signal = new AbortController().signal) {
    const query = new URLSearchParams(everyMs === undefined ? {} : { everyMs: String(everyMs) });
    const answer = await this.live.serve(instanceId, { query, signal });
    const lines = (answer.body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]?.();
    const next = async (): Promise<StatsLine | null> => {
      const { done, value } = await lines.next();
      return done === true ? null : StatsLine.parse(JSON.parse(Buffer.from(value).toString()));
    };
    return { answer, next };
  }
}

test('each line tells what is used now, and processor time over the interval', async () => {
  const lab = new Lab();
  const { next } = await lab.open(2000);
  lab.used = { ...base, cpuMicros: 501_000, memoryBytes: 6000 };
  expect(await next()).toEqual({
    ...{ cpuMillis: 250, memoryBytes: 6000, memoryLimitBytes: 64 * 1024 * 1024, guestMemoryBytes: null },
    ...{ networkReceivedBytes: 11, networkSentBytes: 12, blockReadBytes: 7, blockWriteBytes: null, pids: 4 },
  });
  // Started anew in between: no rate, and the next one counts from there.
  lab.used = { ...base, cpuMicros: 10_000 };
  expect(await next()).toMatchObject({ cpuMillis: null });
  lab.used = { ...base, cpuMicros: 12_000 };
  expect(await next()).toMatchObject({ cpuMillis: 1 });
  // A clock that was set back gives no rate either.
  lab.meanwhile = () => void (lab.now -= 3_600_000);
  expect(await next()).toMatchObject({ cpuMillis: null });
});

test('however many watch an instance, it is looked at once; an interval has bounds', async () => {
  const lab = new Lab();
  const watchers = await Promise.all(Array.from({ length: 64 }, () => lab.open(1)));
  expect(lab.looks).toBe(1);
  const before = lab.now;
  await watchers[0]?.next();
  expect(lab.now - before).toBe(1000);
  expect((await lab.open()).answer).toMatchObject({ status: 429, body: { code: 'rateLimited' } });
});

test('a stream that is over makes room for another', async () => {
  const lab = new Lab();
  const over = new AbortController();
  setMaxListeners(64, over.signal);
  for (let n = 0; n < 64; n += 1) await lab.open(1000, over.signal);
  over.abort();
  const { answer, next } = await lab.open(1000);
  expect(answer.status).toBe(200);
  expect(await next()).not.toBeNull();
});

test('it ends with its run, with its epoch, and with whoever reads', async () => {
  const ended = new Lab();
  const first = await ended.open();
  expect(await first.next()).not.toBeNull();
  ended.used = null;
  expect(await first.next()).toBeNull();

  const replaced = new Lab();
  const second = await replaced.open();
  replaced.newest = replaced.placed(4);
  expect(await second.next()).toBeNull();

  const gone = new Lab();
  const over = new AbortController();
  const third = await gone.open(1000, over.signal);
  over.abort();
  expect(await third.next()).toBeNull();
});

test('what cannot be measured is refused at once, and a runtime that hangs ends the stream', async () => {
  const lab = new Lab();
  lab.used = null;
  expect((await lab.open()).answer).toMatchObject({ status: 409, body: { code: 'notPrepared' } });
  lab.newest = { refusal: { status: 404, body: { code: 'notFound', message: 'not here' } } };
  expect((await lab.open()).answer.status).toBe(404);
  lab.newest = { ...lab.placed(3), runtime: { name: 'bare' } as Runtime };
  expect((await lab.open()).answer).toMatchObject({ status: 501, body: { code: 'unsupported' } });
  lab.newest = lab.placed(3);
  lab.now += 1000;
  lab.usage = () => Promise.reject(new RuntimeError('notPrepared', 'away'));
  expect((await lab.open()).answer).toMatchObject({ status: 409, body: { message: 'away' } });
  lab.now += 1000;
  lab.usage = () => Promise.resolve([{ ...key, ...base }]);
  const { next } = await lab.open();
  lab.usage = () => new Promise(() => undefined);
  await expect(next()).rejects.toThrow(/in time/);
});
