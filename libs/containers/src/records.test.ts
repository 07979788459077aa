import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import type { InstanceId, VolumeId } from '@berth/model';
import { RANGE_SIZE, UidRanges } from './isolation/uid-ranges.js';
import { LogDecoder } from './log-reader.js';
import { memoryConditions } from './out-of-memory.js';
import { exitInfo } from './run-exit.js';
import { RecordStore, type WorkloadRecord, workloadId } from './workload-record.js';

const directory = mkdtempSync(join(tmpdir(), 'records-'));
afterAll(() => rmSync(directory, { recursive: true }));

describe('uid ranges', () => {
  const path = join(directory, 'uid-ranges.json');
  it('never overlap, stay below 2^31, and are the same after a restart', async () => {
    const ids = Array.from({ length: 60 }, (_, n) => `volume-${n}` as VolumeId);
    const ranges = new UidRanges(path);
    const bases = await Promise.all(ids.map((id) => ranges.ensure(id)));
    expect(new Set(bases).size).toBe(ids.length);
    for (const base of bases) {
      expect(base % RANGE_SIZE).toBe(0);
      expect(base).toBeGreaterThanOrEqual(0x1000_0000);
      expect(base + RANGE_SIZE).toBeLessThan(2 ** 31);
    }
    const again = new UidRanges(path);
    expect(await Promise.all(ids.map((id) => again.ensure(id)))).toEqual(bases);
  });
  it('are given back only when released', async () => {
    const ranges = new UidRanges(path);
    const id = 'volume-x' as VolumeId;
    const base = await ranges.ensure(id);
    expect(await ranges.find(id)).toBe(base);
    await ranges.release(id);
    expect(await ranges.find(id)).toBeNull();
  });
  it('are not handed out from a damaged file', async () => {
    const damaged = join(directory, 'damaged.json');
    writeFileSync(damaged, '{"version":1,"ran');
    await expect(new UidRanges(damaged).ensure('v' as VolumeId)).rejects.toThrow(/cannot be read/);
  });
});

describe('records', () => {
  const record: WorkloadRecord = {
    ...{ version: 1, instanceId: '6f9619ff-8b86-4d11-b42d-00cf4fc964ff' as InstanceId, epoch: 3 },
    ...{ volumeId: 'v' as VolumeId, networkIds: [], stopSignal: 'TERM', run: null, stop: null, exit: null },
  };
  it('are read once, and again when this or another process replaced them', async () => {
    const [store, other] = [new RecordStore(directory), new RecordStore(directory)];
    await store.write(record);
    const read = await store.read(record);
    expect(read).toEqual(record);
    expect(await store.read(record)).toBe(read);
    await other.write({ ...record, stop: { forced: true } });
    expect((await store.read(record))?.stop).toEqual({ forced: true });
    await store.write({ ...record, stop: { forced: false } });
    expect((await store.read(record))?.stop).toEqual({ forced: false });
    await other.remove(record);
    expect(await store.read(record)).toBeNull();
    expect(await store.keys()).toEqual([]);
  });
});

describe('the log’s framing', () => {
  it('is taken off whole lines and parts, however the file is cut into chunks', () => {
    const text = fc.array(fc.record({ part: fc.boolean(), line: fc.stringMatching(/^[ -~]{0,20}$/) }));
    fc.assert(
      fc.property(text, fc.integer({ min: 1, max: 50 }), (lines, size) => {
        const at = '2026-01-02T03:04:05.678901234+00:00';
        const raw = Buffer.from(lines.map((l) => `${at} stdout ${l.part ? 'P' : 'F'} ${l.line}\n`).join(''));
        const decoder = new LogDecoder();
        const out: Buffer[] = [];
        for (let n = 0; n < raw.length; n += size) out.push(decoder.feed(raw.subarray(n, n + size)));
        expect(Buffer.concat(out).toString()).toBe(lines.map((l) => l.line + (l.part ? '' : '\n')).join(''));
      }),
    );
  });
});

describe('how a run ended', () => {
  const at = new Date(0);
  const memory = (oomKills: number) => ({ limitBytes: 2 ** 25, peakBytes: 2 ** 25 - 2 ** 18, oomKills });
  const end = (status: number, oomKills = 0) => ({
    recorded: { status, oomKilled: false },
    memory: memory(oomKills),
    otherBoot: false,
    at,
  });
  it.each([
    ['a status', { stop: null }, end(3), { reason: 'exited', code: 3 }],
    ['a status that means a signal', { stop: null }, end(139), { reason: 'signalled', signal: 'SIGSEGV' }],
    ['a status above all signals', { stop: null }, end(255), { reason: 'exited', code: 255 }],
    [
      'memory',
      { stop: null },
      end(137, 1),
      {
        reason: 'oomKilled',
        signal: 'SIGKILL',
        message:
          'the kernel killed it for want of memory: its limit is 32 MiB, and the most that it held was 31.8 MiB',
        memory: memory(1),
      },
    ],
    [
      'memory, in a cgroup that is gone',
      { stop: null },
      { ...end(137), recorded: { status: 137, oomKilled: true }, memory: null },
      { reason: 'oomKilled', message: 'the kernel killed it for want of memory' },
    ],
    [
      'a killed child that was survived',
      { stop: null },
      end(0, 1),
      { reason: 'exited', code: 0, memory: memory(1) },
    ],
    ['a polite stop', { stop: { forced: false } }, end(0), { reason: 'stopped', code: 0 }],
    ['a forced stop', { stop: { forced: true } }, end(137), { reason: 'killed', signal: 'SIGKILL' }],
    ['nothing recorded', { stop: null }, { ...end(0), recorded: null }, { reason: 'lost' }],
    ['another boot', { stop: null }, { ...end(0), recorded: null, otherBoot: true }, { reason: 'hostBoot' }],
  ])('by %s is said in the model’s words', (_, record, how, info) => {
    expect(exitInfo(record, how)).toMatchObject(info);
  });
  it('tells of its memory only where the kernel killed for it', () => {
    expect(exitInfo({ stop: null }, end(1))).toEqual({ reason: 'exited', code: 1, at: at.toISOString() });
    expect(memoryConditions(memory(0))).toEqual([]);
    expect(memoryConditions(null)).toEqual([]);
  });
  it('and what goes on without a killed process is the same news, however many there were', () => {
    expect(memoryConditions(memory(1))).toEqual(memoryConditions(memory(70)));
    expect(memoryConditions({ limitBytes: null, peakBytes: null, oomKills: 1 })).toMatchObject([
      { type: 'OutOfMemory', message: expect.stringMatching(/: it has no limit$/) },
    ]);
  });
});

describe('a name on the host', () => {
  it.each(['../../etc', 'a/b', '', 'x'.repeat(36)])('is never made of %j', (instanceId) => {
    expect(() => workloadId({ instanceId: instanceId as never, epoch: 1 })).toThrow(/not a workload key/);
  });
});
