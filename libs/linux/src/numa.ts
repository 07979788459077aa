import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { c, check } from './libc.js';

/* Nodes of memory and processors (Linux, Documentation/ABI/stable/sysfs-devices-node). */

export interface NumaNode {
  readonly id: number;
  /** Processors that this process may use. */
  readonly cpus: readonly number[];
  /** All of it, MiB. */
  readonly memoryMiB: number;
  /** To each node of the list. */
  readonly distances: readonly number[];
}

const NODES = '/sys/devices/system/node';
const SELF = '/proc/self/status';

/** The nodes whose memory this process may use, in the order of their numbers; none where the kernel knows of none. */
export function numaNodes(nodes = NODES, self = SELF): NumaNode[] {
  const text = (...path: string[]): string => readFileSync(join(nodes, ...path), 'utf8').trim();
  const status = readFileSync(self, 'utf8');
  const allowed = (what: string): ReadonlySet<number> =>
    new Set(listRead(new RegExp(`^${what}_allowed_list:\\s*(\\S+)$`, 'm').exec(status)?.[1] ?? ''));
  const [cpus, mems] = [allowed('Cpus'), allowed('Mems')];
  const all = nodeIds(nodes);
  // A distance is told to every node that is online.
  const kept = all.flatMap((id, at) => (mems.has(id) ? [{ id, at }] : []));
  return kept.map(({ id }) => {
    const distances = text(`node${id}`, 'distance').split(/\s+/).map(Number);
    const kiB = /MemTotal:\s+(\d+) kB/.exec(text(`node${id}`, 'meminfo'))?.[1];
    return {
      id,
      cpus: listRead(text(`node${id}`, 'cpulist')).filter((cpu) => cpus.has(cpu)),
      memoryMiB: Math.floor(Number(kiB ?? 0) / 1024),
      distances: kept.map(({ at }) => distances[at] ?? 0),
    };
  });
}

function nodeIds(nodes: string): number[] {
  try {
    const names = readdirSync(nodes).flatMap((name) => /^node(\d+)$/.exec(name)?.[1] ?? []);
    return names.map(Number).sort((a, b) => a - b);
  } catch {
    return [];
  }
}

/** Memory that a node keeps in huge pages of this size, MiB: all that was reserved, or what of it is free. */
export function nodeHugePages(id: number, pageMiB: number, of: 'nr' | 'free', nodes = NODES): number {
  try {
    const pool = join(nodes, `node${id}`, 'hugepages', `hugepages-${pageMiB * 1024}kB`);
    return Number(readFileSync(join(pool, `${of}_hugepages`), 'utf8')) * pageMiB;
  } catch {
    return 0;
  }
}

/** Numbers as the kernel lists them: `0-3,8`. */
export function listRead(text: string): number[] {
  return text.split(',').flatMap((part) => {
    const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(part.trim()) ?? [];
    if (first === undefined) return [];
    return Array.from({ length: Number(last) - Number(first) + 1 }, (_, i) => Number(first) + i);
  });
}

/** Has a thread run on these processors only; those that it begins do as well (sched_setaffinity(2)). @throws SystemError */
export function setAffinity(thread: number, cpus: readonly number[]): void {
  const mask = Buffer.alloc(Math.ceil((Math.max(0, ...cpus) + 1) / 64) * 8);
  for (const cpu of cpus) mask[cpu >> 3] = (mask[cpu >> 3] ?? 0) | (1 << (cpu & 7));
  check(c.schedSetaffinity(thread, mask.length, mask), 'sched_setaffinity', String(thread));
}
