import { setTimeout as wait } from 'node:timers/promises';
import { cgroupProcs, processKin, type ProcessKin, signalProcess } from '@berth/linux';

/** A killed process is looked for again after this, ms. */
const AGAIN_MS = 5;
/** Looks at most; what is frozen dies when it is thawed and is not waited for. */
const LOOKS = 20;

/** The processes of a container's group. */
export async function groupMembers(cgroup: string): Promise<ProcessKin[]> {
  const all = (await cgroupProcs(cgroup)).map((pid) => processKin(pid));
  return all.filter((kin) => kin !== null);
}

/**
 * Of a container's processes those that came in from outside and have lost the relay they came by, each with its session.
 * The container's own processes descend from its first one and never have a parent outside, whatever they do: the kernel
 * gives orphans to the first process of their pid namespace. Pure.
 */
export function strays(
  members: readonly ProcessKin[],
  init: number,
  relays: ReadonlySet<number>,
): ProcessKin[] {
  const inside = new Set(members.map((kin) => kin.identity.pid));
  const roots = members.filter(
    (kin) => kin.identity.pid !== init && !inside.has(kin.parent) && !relays.has(kin.parent),
  );
  const sessions = new Set(roots.map((root) => root.identity.pid));
  return members.filter((kin) => roots.includes(kin) || sessions.has(kin.session));
}

/** Kills what `which` finds until it finds nothing more. */
export async function killAll(which: () => Promise<readonly ProcessKin[]>): Promise<void> {
  for (let look = 0; look < LOOKS; look += 1) {
    const found = await which();
    if (found.length === 0) return;
    for (const { identity } of found) signalProcess(identity, 'SIGKILL');
    await wait(AGAIN_MS);
  }
}
