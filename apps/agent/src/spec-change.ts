import type { Assignment } from '@berth/link';
import type { Condition, KeptByRun } from '@berth/model';
import { restartRequiredType } from '@berth/model';

/*
 * What a change of the spec does to a workload that runs: its runtime puts into effect what it can, and the rest is
 * named until the next start. Room is booked for an epoch, so more of it needs a new one, which `restart` makes.
 */

type Workload = Assignment['workload'];

/** Fields that a run keeps as it was started with, by their names in a spec. */
const kept = {
  process: 'process',
  userData: 'userData',
  cloudInit: 'cloudInit',
  watchdog: 'watchdog',
  accel: 'placement.accel',
  driver: 'placement.driver',
} as const satisfies Partial<Record<keyof Workload, KeptByRun | `${KeptByRun}.${string}`>>;

/** Fields of which an epoch has what is booked for it. */
const booked = ['vcpus', 'cpuMillis', 'memoryMiB'] as const satisfies readonly KeptByRun[];

/** What an epoch runs with: its workload, within the room that is booked for it. */
export function booking({ workload, booked: room }: Assignment): Workload {
  return room === undefined ? workload : { ...workload, ...room };
}

/** Fields of the spec that take effect at the next start. @param started what the run was started with, where that is known */
export function restartFields(assignment: Assignment, started: Workload | undefined): string[] {
  const wanted = assignment.workload;
  const has = booking(assignment);
  return [
    ...booked.filter((field) => wanted[field] !== has[field]),
    ...Object.entries(kept).flatMap(([field, name]) =>
      started === undefined || same(wanted[field as keyof Workload], started[field as keyof Workload])
        ? []
        : [name],
    ),
  ];
}

/** Null when all that was asked for is in effect. */
export function restartRequired(fields: readonly string[], since: string): Condition | null {
  if (fields.length === 0) return null;
  return {
    type: restartRequiredType,
    reason: 'SpecChanged',
    message: `takes effect at the next start: ${fields.join(', ')}`,
    remedy: 'restart the instance when it suits',
    since,
  };
}

/** What of an assignment a runtime can put into effect while it runs, as text to compare. */
export const liveText = ({ revision, workload: { volumes, rootVolume } }: Assignment): string =>
  JSON.stringify([revision, volumes.map(sourceless), sourceless(rootVolume)]);

/** What a disk began as is no wish of something that runs, and is told no more once it has been made. */
const sourceless = <D extends { readonly source?: unknown }>({ source: _, ...disk }: D): Omit<D, 'source'> =>
  disk;

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
