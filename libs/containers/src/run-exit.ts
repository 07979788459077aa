import { constants } from 'node:os';
import type { ExitInfo, MemoryEnd } from '@berth/model';
import type { LaunchExit } from './launch/launcher.js';
import { memoryText } from './out-of-memory.js';
import type { WorkloadRecord } from './workload-record.js';

const SIGNAL_NAMES = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

export interface RunEnd {
  /** What the monitor recorded; null when it recorded nothing. */
  readonly recorded: LaunchExit | null;
  /** What the kernel counted of its memory; null where its cgroup is gone. */
  readonly memory: MemoryEnd | null;
  /** The run belongs to another boot of the host. */
  readonly otherBoot: boolean;
  readonly at: Date;
}

/**
 * How a run ended, in the model's words. A status above 128 is read as a signal, as shells do: the monitor writes
 * 128 + n for signal n, and a program that exits with such a status itself means the same. Pure.
 */
export function exitInfo(record: Pick<WorkloadRecord, 'stop'>, end: RunEnd): ExitInfo {
  const { memory } = end;
  return memory === null || memory.oomKills === 0 ? how(record, end) : { ...how(record, end), memory };
}

function how(record: Pick<WorkloadRecord, 'stop'>, { recorded, memory, ...end }: RunEnd): ExitInfo {
  const at = end.at.toISOString();
  if (recorded === null) {
    if (end.otherBoot) return { reason: 'hostBoot', message: 'the host was started anew', at };
    return { reason: 'lost', message: 'the container and its monitor are gone without an exit status', at };
  }
  const { status } = recorded;
  const name = status > 128 ? SIGNAL_NAMES.get(status - 128) : undefined;
  const cause = name === undefined ? { code: status } : { signal: name };
  if (record.stop !== null) return { reason: record.stop.forced ? 'killed' : 'stopped', ...cause, at };
  if ((recorded.oomKilled || (memory?.oomKills ?? 0) > 0) && status !== 0) {
    const counted = memory === null ? '' : `: ${memoryText(memory)}`;
    return {
      reason: 'oomKilled',
      message: `the kernel killed it for want of memory${counted}`,
      ...cause,
      at,
    };
  }
  return { reason: name === undefined ? 'exited' : 'signalled', ...cause, at };
}
