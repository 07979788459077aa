import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { hierarchies } from './cgroup-mounts.js';
import {
  cgroupAdd,
  cgroupBind,
  cgroupCreate,
  cgroupKill,
  cgroupLimit,
  cgroupLimits,
  cgroupMounts,
  cgroupProcessors,
  cgroupProcs,
  cgroupRemove,
  cgroupUsage,
  detectCgroups,
  mountinfoParse,
  mounts,
} from './index.js';

const group = `berth-test-${process.pid}`;

afterEach(async () => {
  await cgroupKill(group);
  await cgroupRemove(group);
  for (const path of hierarchies().paths) expect(readdirSync(path)).not.toContain(group);
});

/** A child inside the group: it waits for a line before it runs `script`. */
async function inside(script: string) {
  const child = spawn('sh', ['-c', `read go; ${script}`], { stdio: ['pipe', 'ignore', 'ignore'] });
  if (child.pid === undefined) throw new Error('no child');
  const closed = once(child, 'close');
  await cgroupAdd(group, child.pid);
  child.stdin.write('go\n');
  return { child, pid: child.pid, closed };
}

test('limits are what the kernel holds, can be changed and taken away', async () => {
  await cgroupCreate(group, { cpuMillis: 250, memoryBytes: 64 * 1024 * 1024, pids: 20, cpuShares: 512 });
  expect(await cgroupLimits(group)).toEqual({ cpuMillis: 250, memoryBytes: 64 * 1024 * 1024, pids: 20 });
  await cgroupLimit(group, { cpuMillis: null, memoryBytes: null, pids: null });
  expect(await cgroupLimits(group)).toEqual({ cpuMillis: null, memoryBytes: null, pids: null });
});

test('a group is bound to processors of its host, to all of them again, and to none that are not there', async () => {
  await cgroupCreate(group);
  const tree = hierarchies().controllers.get('cpuset');
  const all = await cgroupProcessors();
  if (tree === undefined || all === null) throw new Error('no controller cpuset here');
  if (tree.version === 1) {
    await mkdir(join(tree.path, group));
    await writeFile(join(tree.path, group, 'cpuset.mems'), '0');
  }
  const bound = async () => (await readFile(join(tree.path, group, 'cpuset.cpus'), 'utf8')).trim();
  const one = all.split(/[-,]/)[0] ?? '';
  await cgroupBind(group, one);
  expect(await bound()).toBe(one);
  await expect(cgroupBind(group, '8191')).rejects.toMatchObject({ code: expect.stringMatching(/^E/) });
  expect(await bound()).toBe(one);
  await cgroupBind(group, null);
  expect(await bound()).toBe(tree.version === 1 ? all : '');
  if (tree.version === 1) await rmdir(join(tree.path, group));
});

test('a process over the memory limit is killed and counted', async () => {
  await cgroupCreate(group, { memoryBytes: 16 * 1024 * 1024 });
  const { closed } = await inside('exec tail /dev/zero');
  const [, signal] = (await closed) as [number | null, string | null];
  expect(signal).toBe('SIGKILL');
  const usage = cgroupUsage(group);
  expect(usage.oomKills).toBeGreaterThanOrEqual(1);
  expect(usage.cpuMicros).toBeGreaterThan(0);
});

test('kill ends every process, also children in groups below, and remove takes all groups', async () => {
  await cgroupCreate(group, { pids: 20 });
  await cgroupCreate(`${group}/below`);
  const { pid, closed } = await inside('sleep 300 & sleep 300 & wait');
  await cgroupAdd(`${group}/below`, pid);
  expect(await cgroupProcs(group)).toContain(pid);
  await cgroupKill(group);
  await closed;
  expect(await cgroupProcs(group)).toEqual([]);
  await cgroupRemove(group);
  expect(() => cgroupUsage(group)).toThrow(/ENOENT/);
});

test('a group path cannot leave the hierarchy', async () => {
  for (const bad of ['', '/', '/x', '../x', 'a/../b', 'a//b', 'a/', 'a\nb', '..', '.']) {
    await expect(cgroupCreate(bad)).rejects.toThrow(RangeError);
  }
});

test('the trees are those of the mount table', () => {
  expect(cgroupMounts()).toEqual(mounts().filter(({ type }) => type === 'cgroup' || type === 'cgroup2'));
});

test('the mode is told by the mounts', () => {
  const v1 = '31 23 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n';
  const v2 = '32 23 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n';
  expect(detectCgroups(mountinfoParse(v1))).toBe('v1');
  expect(detectCgroups(mountinfoParse(v2))).toBe('v2');
  expect(detectCgroups(mountinfoParse(v1 + v2))).toBe('hybrid');
  expect(() => detectCgroups([])).toThrow('no cgroup');
});
