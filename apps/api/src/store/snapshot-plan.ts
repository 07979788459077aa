import type { Snapshot, SnapshotSchedule } from '@berth/model';

/*
 * What a schedule of snapshots asks for at a moment: a pure function of the clock, of how far it was seen to, and of what is there.
 */

/** A snapshot that was taken by schedule. */
export interface Scheduled {
  readonly name: string;
  readonly state: Snapshot['state'];
  readonly scheduledFor: Date;
}

export interface SnapshotPlan {
  /** The moment of which one is to be taken; null for none. Of several that were missed it is the last. */
  readonly take: Date | null;
  /** Names of those to delete, the oldest first. */
  readonly remove: readonly string[];
}

const minuteMs = 60_000;

/** The last moment of the schedule that is not after `now`. */
export function dueAt({ everyMinutes, offsetMinutes }: SnapshotSchedule, now: Date): Date {
  const every = everyMinutes * minuteMs;
  const offset = offsetMinutes * minuteMs;
  return new Date(Math.floor((now.getTime() - offset) / every) * every + offset);
}

/** Only whole ones count towards what is kept: while none can be taken, none is deleted. */
export function snapshotPlan(
  schedule: SnapshotSchedule,
  now: Date,
  seenTo: Date,
  has: readonly Scheduled[],
): SnapshotPlan {
  const due = dueAt(schedule, now);
  const newestFirst = has
    .filter(({ state }) => state === 'ready')
    .sort((a, b) => b.scheduledFor.getTime() - a.scheduledFor.getTime());
  return {
    take: due.getTime() > seenTo.getTime() ? due : null,
    remove: newestFirst
      .slice(schedule.keep)
      .reverse()
      .map(({ name }) => name),
  };
}

/** Name of the one of a moment: `auto-20260131-0200`, UTC. */
export function scheduledName(at: Date): string {
  const [day = '', time = ''] = at.toISOString().split('T');
  return `auto-${day.replaceAll('-', '')}-${time.slice(0, 5).replace(':', '')}`;
}
