import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { InstanceProcesses } from '@berth/model';
import { expect, it } from 'vitest';
import { processesOf } from '../microvm/microvm-processes.js';
import { psProcesses } from './guest-processes.js';

const record = (name: string, bytes: string | Buffer): Buffer =>
  Buffer.concat([Buffer.from(`${name} ${Buffer.byteLength(bytes)}\n`), Buffer.from(bytes as string)]);

it('reads what a microVM’s first process tells, and leaves out what makes no sense', () => {
  const own = (name: string): Buffer => record(name, readFileSync(`/proc/self/${name}`));
  const answer = Buffer.concat([
    record('uptime', readFileSync('/proc/uptime')),
    record('passwd', 'someone:x:0:0::/:\n'),
    ...['stat', 'status', 'cmdline'].map(own),
    ...[record('stat', '1 (gone'), record('status', ''), record('cmdline', '')],
    Buffer.from('not a record'),
  ]);
  const { items, total } = InstanceProcesses.parse(processesOf(answer));
  expect(total).toBe(1);
  expect(items[0]).toMatchObject({ user: process.geteuid?.() === 0 ? 'someone' : expect.any(String) });
  expect(items[0]?.command).toContain('node');
});

it('reads what this machine’s ps prints', () => {
  const args = ['-e', '-ww'];
  for (const c of ['pid', 'ppid', 'euid', 'euser:32', 's', 'nlwp', 'rss', 'cputimes', 'etimes', 'args'])
    args.push('-o', `${c}=`);
  const text = execFileSync('ps', args, { encoding: 'utf8' });
  const { items, total } = InstanceProcesses.parse(psProcesses(text));
  expect(total).toBe(text.trim().split('\n').length);
  expect(items.find(({ pid }) => pid === process.pid)?.parent).toBe(process.ppid);
});

it('is what may be told, whatever a guest says', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
      const text = Buffer.from(bytes);
      InstanceProcesses.parse(processesOf(text));
      InstanceProcesses.parse(psProcesses(text.toString()));
      InstanceProcesses.parse(psProcesses(`1 0 0 root S 1 2 3 4 ${text.toString()}`));
    }),
  );
});
