import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HugePageSize, hugePageMiB, type HugePages } from '@berth/model';
import { RuntimeError } from '@berth/runtime';
import { MEMORY_BACKEND, nodeMemory } from '../machine/machine-spec.js';
import type { ExecuteOptions, QmpExecutor } from '../qmp/commands.js';

/* Huge pages of a host: pools that its administrator fills (Linux, Documentation/admin-guide/mm/hugetlbpage.rst). */

const POOLS = '/sys/kernel/mm/hugepages';

/** What is reserved, whoever uses it; 0 where the kernel or the processor has no such pages. */
export async function hugePages(pools = POOLS): Promise<HugePages> {
  const [two, one] = await Promise.all([pagesMiB('2MiB', 'nr', pools), pagesMiB('1GiB', 'nr', pools)]);
  return { '2MiB': two, '1GiB': one };
}

/** That a machine would find its memory. What another takes meanwhile QEMU says itself. @throws RuntimeError hostFault */
export async function needHugePages(size: HugePageSize, memoryMiB: number, pools = POOLS): Promise<void> {
  const free = await pagesMiB(size, 'free', pools);
  if (free >= memoryMiB) return;
  throw new RuntimeError('hostFault', `${free} MiB are free in pages of ${size}, and it needs ${memoryMiB}`, {
    remedy: `reserve more on its host, in ${pools}, or stop a machine that has some`,
  });
}

async function pagesMiB(size: HugePageSize, of: 'nr' | 'free', pools: string): Promise<number> {
  const pool = join(pools, `hugepages-${hugePageMiB[size] * 1024}kB`, `${of}_hugepages`);
  const text = await readFile(pool, 'utf8').catch(() => '0');
  return Number(text) * hugePageMiB[size];
}

/** What a machine that runs has its memory in, by QEMU's own word (QOM). @throws QmpError */
export async function hugePagesOf(qmp: QmpExecutor, bounds: ExecuteOptions): Promise<HugePageSize | null> {
  const objects = await qmp.execute('qom-list', { path: '/objects' }, bounds);
  const memory = [MEMORY_BACKEND, nodeMemory(0)].find((one) => objects.some(({ name }) => name === one));
  if (memory === undefined) return null;
  const path = `/objects/${memory}`;
  const properties = await qmp.execute('qom-list', { path }, bounds);
  if (!properties.some(({ name }) => name === 'hugetlb')) return null;
  if ((await qmp.execute('qom-get', { path, property: 'hugetlb' }, bounds)) !== true) return null;
  const bytes = await qmp.execute('qom-get', { path, property: 'hugetlbsize' }, bounds);
  return HugePageSize.options.find((size) => hugePageMiB[size] * 2 ** 20 === bytes) ?? null;
}
