import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { listRead, nodeHugePages, numaNodes, setAffinity } from './numa.js';

const allowed = (pid: number | 'self'): number[] =>
  listRead(/^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '');

it('reads lists as the kernel writes them', () => {
  expect(listRead('0-3,8,10-11\n')).toEqual([0, 1, 2, 3, 8, 10, 11]);
  expect(listRead('')).toEqual([]);
});

it('tells of the nodes that it may use, with processors that it may use, and of none where there are none', () => {
  const dir = mkdtempSync(join(tmpdir(), 'berth-nodes-'));
  const write = (path: string, text: string): void => {
    mkdirSync(join(dir, path, '..'), { recursive: true });
    writeFileSync(join(dir, path), text);
  };
  try {
    write('status', 'Cpus_allowed_list:\t0-5\nMems_allowed_list:\t0,2\n');
    for (const [id, cpus, kiB, distances] of [
      [0, '0-3', 2048 * 1024, '10 21 17'],
      [1, '4-7', 1024 * 1024, '21 10 21'],
      [2, '', 512 * 1024, '17 21 10'],
    ] as const) {
      write(`node${id}/cpulist`, `${cpus}\n`);
      write(`node${id}/distance`, `${distances}\n`);
      write(`node${id}/meminfo`, `Node ${id} MemTotal:       ${kiB} kB\nNode ${id} MemFree: 1 kB\n`);
    }
    write('node0/hugepages/hugepages-2048kB/nr_hugepages', '7\n');
    expect(numaNodes(dir, join(dir, 'status'))).toEqual([
      { id: 0, cpus: [0, 1, 2, 3], memoryMiB: 2048, distances: [10, 17] },
      { id: 2, cpus: [], memoryMiB: 512, distances: [17, 10] },
    ]);
    expect(nodeHugePages(0, 2, 'nr', dir)).toBe(14);
    expect(nodeHugePages(0, 1024, 'nr', dir)).toBe(0);
    expect(numaNodes(join(dir, 'nothing'), join(dir, 'status'))).toEqual([]);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

it('has a thread run where it is told, and says what the kernel does not take', () => {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  try {
    const [first = 0] = allowed('self');
    setAffinity(child.pid ?? 0, [first]);
    expect(allowed(child.pid ?? 0)).toEqual([first]);
    expect(() => setAffinity(child.pid ?? 0, [])).toThrow('EINVAL');
    expect(() => setAffinity(child.pid ?? 0, [8191])).toThrow('EINVAL');
  } finally {
    child.kill('SIGKILL');
  }
});
