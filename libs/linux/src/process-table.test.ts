import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { processRow, userNames } from './process-table.js';

const up = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
const own = (pid: number) => ({
  stat: readFileSync(`/proc/${pid}/stat`, 'utf8'),
  status: readFileSync(`/proc/${pid}/status`, 'utf8'),
  cmdline: readFileSync(`/proc/${pid}/cmdline`),
});

it('tells of this process what it knows of itself', () => {
  const row = processRow(own(process.pid), up);
  expect(row).toMatchObject({
    parent: process.ppid,
    uid: process.geteuid?.(),
    state: expect.stringMatching(/[RS]/),
  });
  expect(row?.command).toContain('node');
  expect(row?.cpuMicros).toBeGreaterThan(0);
  expect(row?.memoryBytes).toBeGreaterThan(1024 * 1024);
  expect(Math.abs((row?.ageSeconds ?? 0) - process.uptime())).toBeLessThan(60);
});

it('has the name of what has no arguments, whatever is in it, and the pid of its own namespace', () => {
  const tail = Array.from({ length: 49 }, (_, i) => i + 4).join(' ');
  const row = processRow(
    { stat: `77 (a) b (c) S ${tail}`, status: 'Uid:\t1\t2\t3\t4\nNSpid:\t77\t5\n', cmdline: Buffer.alloc(0) },
    100,
  );
  expect(row).toEqual({
    ...{ pid: 5, parent: 4, uid: 2, state: 'S', threads: 20, cpuMicros: 290_000, memoryBytes: 0 },
    ...{ ageSeconds: 100, command: '[a) b (c]' },
  });
});

it('is nothing where the text is none, and never throws', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.uint8Array(), (stat, status, cmdline) => {
      expect(processRow({ stat, status, cmdline }, 1)).toBeNull();
    }),
  );
});

it('knows names by their ids, and no other words', () => {
  const names = userNames('root:x:0:0::/:\nweb:x:101:102\nagain:x:0:0\nbad name:x:5:5\nx:y\n');
  expect([...names]).toEqual([
    [0, 'root'],
    [101, 'web'],
  ]);
});
