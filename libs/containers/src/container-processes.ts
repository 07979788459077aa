import { readFile } from 'node:fs/promises';
import { cgroupProcs, hasCode, processRow, userNames, type ProcessText } from '@berth/linux';
import { processesMost, type InstanceProcesses } from '@berth/model';
import { RANGE_SIZE } from './isolation/uid-ranges.js';

/**
 * What runs in a container, as its host sees it, told in the container's own numbers. Nothing in it is asked or can lie about
 * more than its own name. @param base first host id of its range @param passwd of its image, at the start of the run
 */
export async function containerProcesses(
  cgroup: string,
  base: number,
  passwd: string | null,
): Promise<InstanceProcesses> {
  const upSeconds = Number((await readFile('/proc/uptime', 'utf8')).split(' ')[0]);
  const names = userNames(passwd ?? '');
  const seen = new Map<number, NonNullable<ReturnType<typeof processRow>>>();
  for (const pid of await cgroupProcs(cgroup)) {
    const text = await processText(pid);
    const row = text === null ? null : processRow(text, upSeconds);
    if (row !== null) seen.set(pid, row);
  }
  const rows = [...seen.values()].map((row) => {
    const uid = inRange(row.uid - base);
    return { ...row, uid, user: names.get(uid) ?? String(uid), parent: seen.get(row.parent)?.pid ?? 0 };
  });
  return { items: rows.sort((a, b) => a.pid - b.pid).slice(0, processesMost), total: rows.length };
}

/** As the container sees whoever is not of its range: nobody. */
const inRange = (uid: number): number => (uid >= 0 && uid < RANGE_SIZE ? uid : RANGE_SIZE - 2);

/** Null when it has ended. */
async function processText(pid: number): Promise<ProcessText | null> {
  try {
    const read = (name: string): Promise<Buffer> => readFile(`/proc/${pid}/${name}`);
    const [stat, status, cmdline] = await Promise.all([read('stat'), read('status'), read('cmdline')]);
    return { stat: stat.toString('utf8'), status: status.toString('utf8'), cmdline };
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH')) return null;
    throw error;
  }
}
