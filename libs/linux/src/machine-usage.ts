import { readFile, statfs } from 'node:fs/promises';
import { hasCode } from './errno.js';

/** /proc counts processor time in these (`USER_HZ`, 100 on every architecture Linux has today). */
const TICK_MICROS = 10_000;

/**
 * Processor time of a process and its threads, and its resident memory (proc(5), stat and status).
 * Null when there is no such process.
 */
export async function processUsage(pid: number): Promise<{ cpuMicros: number; memoryBytes: number } | null> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    // The second field is a name in parentheses that may hold anything; utime and stime are fields 14 and 15.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return {
      cpuMicros: (Number(fields[11]) + Number(fields[12])) * TICK_MICROS,
      memoryBytes: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024,
    };
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH')) return null;
    throw error;
  }
}

/** Processor time spent since boot, memory not available to new processes, and what is used of a folder's file system. */
export async function machineUsage(
  folder: string,
): Promise<{ cpuMicros: number; memoryBytes: number; diskBytes: number }> {
  const [stat, memory, disk] = await Promise.all([
    readFile('/proc/stat', 'utf8'),
    readFile('/proc/meminfo', 'utf8'),
    statfs(folder),
  ]);
  // cpu user nice system idle iowait irq softirq steal guest guest_nice; guest time is part of user time already.
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = stat
    .slice(0, stat.indexOf('\n'))
    .split(/\s+/)
    .slice(1)
    .map(Number);
  const kib = (key: string): number =>
    Number(new RegExp(`^${key}:\\s+(\\d+) kB$`, 'm').exec(memory)?.[1] ?? 0);
  return {
    cpuMicros: (user + nice + system + irq + softirq + steal) * TICK_MICROS,
    memoryBytes: (kib('MemTotal') - kib('MemAvailable')) * 1024,
    diskBytes: (disk.blocks - disk.bfree) * disk.bsize,
  };
}
