import { existsSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { processIdentity, signalProcess } from '@berth/linux';
import { sleep } from './wait.js';

/**
 * Removes cgroups with those below them, and ends what is in them. Every hierarchy counts, also those that hold no limits
 * (devices, freezer, the init system's own). A process needs a moment to leave its groups after it was killed.
 */
export async function groupsRemove(dirs: readonly string[], timeoutMs = 5000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const inside = [...new Set(dirs.flatMap(groupProcesses))];
    for (const pid of inside) {
      const identity = processIdentity(pid);
      if (identity !== null) signalProcess(identity, 'SIGKILL');
    }
    const left = dirs.filter((dir) => !groupRemove(dir));
    if (left.length === 0) return;
    if (Date.now() > deadline)
      throw new Error(
        `the cgroups ${left.join(', ')} cannot be removed: ${inside.length === 0 ? 'the kernel holds them' : `processes ${inside.join(', ')} do not end`}`,
      );
    await sleep(20);
  }
}

function groupProcesses(dir: string): number[] {
  if (!existsSync(dir)) return [];
  const below = readdirSync(dir, { withFileTypes: true }).filter((e) => e.isDirectory());
  const own = readFileSync(join(dir, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
  return [...own, ...below.flatMap((e) => groupProcesses(join(dir, e.name)))];
}

/** Deepest first. False when some group still holds a process. */
function groupRemove(dir: string): boolean {
  if (!existsSync(dir)) return true;
  const below = readdirSync(dir, { withFileTypes: true }).filter((e) => e.isDirectory());
  if (!below.map((e) => groupRemove(join(dir, e.name))).every(Boolean)) return false;
  try {
    rmdirSync(dir);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EBUSY') return false;
    throw error;
  }
}
