import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { isAlive, mounts, type ProcessIdentity, run, signalProcess } from '@berth/linux';
import type { WorkloadSpec } from '@berth/runtime';
import { ContainerLab, context, processesNamed } from '../testing/container-lab.js';
import { up } from '../testing/workload-steps.js';

/** What real containers see of memory, processors, uptime and load, by a real lxcfs. */
const lab = new ContainerLab();
const said: string[] = [];
let made: WorkloadSpec[] = [];
const runtime = () => lab.runtime({ lxcfs: true, tell: (message) => said.push(message) });
beforeAll(() => lab.open());
afterEach(async () => {
  for (const spec of made) await runtime().remove(spec, context());
  made = [];
  // With the last container all of it went.
  expect(processesNamed('lxcfs').filter((line) => line.includes(lab.root))).toEqual([]);
  expect(mounts().filter(({ type }) => type === 'fuse.lxcfs')).toEqual([]);
});
afterAll(() => lab.close());

async function started(change: Partial<WorkloadSpec>): Promise<string> {
  const spec = lab.spec('sleep 1000', change);
  made.push(spec);
  return String(await up(runtime(), spec));
}

/** What a program in a container prints. */
const inside = async (pid: string, ...command: string[]): Promise<string> =>
  (await run('nsenter', ['-t', pid, '-a', '--', '/bin/busybox', ...command])).stdout;
/** Read, and not sent from file to file as busybox' cat does it: the kernel keeps what lxcfs answers to that for all (docs/containers.md). */
const text = (pid: string, path: string): Promise<string> => inside(pid, 'grep', '', path);
const memTotal = async (pid: string): Promise<number> =>
  Number(/^MemTotal: +(\d+) kB$/m.exec(await text(pid, '/proc/meminfo'))?.[1]) / 1024;
const hostMiB = Number(/^MemTotal: +(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) / 1024;
const lxcfs = (): ProcessIdentity =>
  JSON.parse(readFileSync(join(lab.root, 'run/oci/lxcfs/lxcfs.json'), 'utf8')) as ProcessIdentity;

it('are its own, and follow its limits while it runs', async () => {
  const pid = await started({ memoryMiB: 48, cpuMillis: 1000 });
  expect(await memTotal(pid)).toBe(48);
  expect(Number((await text(pid, '/proc/uptime')).split(' ')[0])).toBeLessThan(600);
  const processors = async () => (await text(pid, '/proc/cpuinfo')).match(/^processor/gm)?.length;
  expect(await processors()).toBe(1);
  expect(await text(pid, '/sys/devices/system/cpu/online')).toBe('0\n');
  // Its own processes: this reader and the first one.
  expect(await text(pid, '/proc/loadavg')).toMatch(/^\d+\.\d\d \d+\.\d\d \d+\.\d\d \d\/[12] /);
  expect(await text(pid, '/proc/swaps')).toMatch(/^Filename/);
  expect((await text(pid, '/proc/stat')).match(/^cpu\d/gm)).toHaveLength(1);
  const [spec] = made;
  if (spec === undefined) throw new Error('none was made');
  await runtime().update?.({ ...spec, memoryMiB: 80 }, context());
  expect(await memTotal(pid)).toBe(80);
  await expect(inside(pid, 'sh', '-c', 'echo x > /proc/meminfo')).rejects.toThrow();
  // Files are copied into it and out of it: this file system is the host's, and no program of the container answers for it.
  const [target, signal] = [{ path: '/etc/greeting', mode: '0644' }, AbortSignal.timeout(20_000)];
  await runtime().files?.writeFile(spec, target, Readable.from([Buffer.from('hello')]), signal);
  expect(await text(pid, '/etc/greeting')).toBe('hello\n');
});

it('are those of its host for a moment when lxcfs is killed, and its own again, and no container is touched for it', async () => {
  const [one, two] = [await started({ memoryMiB: 48 }), await started({ memoryMiB: 64 })];
  const first = lxcfs();
  const leave = new AbortController();
  const agent = runtime();
  const watching = (async () => {
    for await (const _ of agent.observe(leave.signal)) void _;
  })();
  for (let life = 0; life < 2; life += 1) {
    const before = lxcfs();
    expect(isAlive(before)).toBe(true);
    signalProcess(before, 'SIGKILL');
    await expect.poll(() => memTotal(one).catch(() => 0), { timeout: 15_000 }).toBe(48);
    expect(await memTotal(two)).toBe(64);
    expect(lxcfs().pid).not.toBe(first.pid);
  }
  expect(said).toContain('lxcfs has ended; it is started again');
  leave.abort();
  await watching;
});

it('are those of the kernel where lxcfs died and is not begun again yet, also for one that is started then', async () => {
  const agent = runtime();
  const spec = lab.spec('sleep 1000', { memoryMiB: 48 });
  made.push(spec);
  const pid = String(await up(agent, spec));
  signalProcess(lxcfs(), 'SIGKILL');
  // It did not live for long: the next life waits a second, and the agent that began it heard of its end.
  await expect.poll(() => memTotal(pid).catch(() => 0), { interval: 5 }).toBe(hostMiB);
  const other = lab.spec('sleep 1000', { memoryMiB: 32 });
  made.push(other);
  const second = String(await up(agent, other));
  await wait(1000);
  const third = lab.spec('sleep 1000', { memoryMiB: 20 });
  made.push(third);
  const all = [pid, second, String(await up(agent, third))];
  expect(await Promise.all(all.map(memTotal))).toEqual([48, 32, 20]);
});

it('are not there where the host’s configuration says so, nor in a container that holds others', async () => {
  const plain = lab.spec('sleep 1000', {});
  made.push(plain);
  expect(await memTotal(String(await up(lab.runtime(), plain)))).toBe(hostMiB);
  expect((await lab.runtime().probe()).facets).not.toContain('lxcfs');
  expect((await runtime().probe()).facets).toContain('lxcfs');
  const nesting = await started({ security: { nesting: true } });
  expect(await memTotal(nesting)).toBe(hostMiB);
  expect(await inside(nesting, 'unshare', '-Urpfm', '--mount-proc', 'true').catch(String)).not.toContain(
    'mounting',
  );
});
