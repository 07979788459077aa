import { Name, SnapshotSchedule } from '@berth/model';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dueAt, scheduledName, type Scheduled, snapshotPlan } from './snapshot-plan.js';

const minuteMs = 60_000;
const schedules = fc
  .record({ everyMinutes: fc.integer({ min: 5, max: 20_000 }), keep: fc.integer({ min: 1, max: 8 }) })
  .chain((s) =>
    fc.integer({ min: 0, max: s.everyMinutes - 1 }).map((offsetMinutes) => ({ ...s, offsetMinutes })),
  );
const start = Date.parse('2026-01-01T00:00:00.000Z');
const moments = fc.integer({ min: 0, max: 200 * 24 * 60 }).map((n) => new Date(start + n * minuteMs + 7));
const at = (text: string): Date => new Date(text);

describe('the moments of a schedule', () => {
  it('are full hours, and days at an hour of UTC', () => {
    const hourly = SnapshotSchedule.parse({ everyMinutes: 60, keep: 1 });
    expect(dueAt(hourly, at('2026-03-04T05:59:59.999Z'))).toEqual(at('2026-03-04T05:00:00.000Z'));
    const nightly = SnapshotSchedule.parse({ everyMinutes: 1440, offsetMinutes: 120, keep: 1 });
    expect(dueAt(nightly, at('2026-03-04T01:59:00.000Z'))).toEqual(at('2026-03-03T02:00:00.000Z'));
    expect(dueAt(nightly, at('2026-03-04T02:00:00.000Z'))).toEqual(at('2026-03-04T02:00:00.000Z'));
    expect(scheduledName(at('2026-03-04T02:00:00.000Z'))).toBe('auto-20260304-0200');
  });

  it('never lie in the future, nor a whole interval back, and have names of their own', () => {
    fc.assert(
      fc.property(schedules, moments, (schedule, now) => {
        const due = dueAt(schedule, now);
        const every = schedule.everyMinutes * minuteMs;
        expect(due.getTime()).toBeLessThanOrEqual(now.getTime());
        expect(now.getTime() - due.getTime()).toBeLessThan(every);
        expect(dueAt(schedule, due)).toEqual(due);
        const next = dueAt(schedule, new Date(due.getTime() + every));
        expect(next.getTime()).toBe(due.getTime() + every);
        expect(scheduledName(next)).not.toBe(scheduledName(due));
        expect(Name.safeParse(scheduledName(due)).success).toBe(true);
      }),
    );
  });
});

describe('a plan', () => {
  /** Lives through these moments; a snapshot that is wanted is taken unless it fails. */
  const life = (
    schedule: SnapshotSchedule,
    ticks: readonly { readonly minutes: number; readonly fails: boolean }[],
    tick: (t: {
      before: readonly Scheduled[];
      after: readonly Scheduled[];
      took: boolean;
      failed: boolean;
    }) => void,
  ): void => {
    let now = start;
    let seenTo = new Date(now);
    let has: readonly Scheduled[] = [];
    for (const { minutes, fails } of ticks) {
      now += minutes * minuteMs;
      const { take, remove } = snapshotPlan(schedule, new Date(now), seenTo, has);
      const before = has;
      has = has.filter(({ name }) => !remove.includes(name));
      if (take !== null) {
        seenTo = take;
        if (!fails) has = [...has, { name: scheduledName(take), state: 'ready', scheduledFor: take }];
      }
      tick({ before, after: has, took: take !== null && !fails, failed: fails });
    }
  };
  const lives = fc.array(fc.record({ minutes: fc.integer({ min: 0, max: 5000 }), fails: fc.boolean() }), {
    maxLength: 60,
  });

  it('takes one of each moment at most, in their order, and keeps the newest', () => {
    fc.assert(
      fc.property(schedules, lives, (schedule, ticks) => {
        const all: string[] = [];
        life(schedule, ticks, ({ before, after }) => {
          all.push(...after.filter((s) => !before.includes(s)).map(({ name }) => name));
          expect(after.length).toBeLessThanOrEqual(schedule.keep + 1);
          const lost = before.filter((s) => !after.includes(s));
          for (const one of lost)
            for (const kept of before.filter((s) => after.includes(s)))
              expect(one.scheduledFor.getTime()).toBeLessThan(kept.scheduledFor.getTime());
        });
        expect(new Set(all).size).toBe(all.length);
      }),
    );
  });

  it('deletes none where as many as are to be kept would not be left', () => {
    fc.assert(
      fc.property(schedules, lives, (schedule, ticks) => {
        life(schedule, ticks, ({ before, after }) => {
          expect(after.length).toBeGreaterThanOrEqual(Math.min(before.length, schedule.keep));
        });
      }),
    );
  });

  it('asks for nothing twice: what was seen to is over, also by another life', () => {
    fc.assert(
      fc.property(schedules, moments, fc.integer({ min: 0, max: 10_000 }), (schedule, now, later) => {
        const { take } = snapshotPlan(schedule, now, new Date(0), []);
        expect(take).not.toBeNull();
        const seen = take ?? now;
        expect(snapshotPlan(schedule, now, seen, []).take).toBeNull();
        const then = new Date(now.getTime() + later * minuteMs);
        const next = snapshotPlan(schedule, then, seen, []).take;
        expect(next === null || next.getTime() > seen.getTime()).toBe(true);
        expect(next === null).toBe(dueAt(schedule, then).getTime() === seen.getTime());
      }),
    );
  });

  it('counts none that is not whole, and leaves what is under way alone', () => {
    const schedule = { everyMinutes: 60, offsetMinutes: 0, keep: 1 };
    const one = (hour: number, state: Scheduled['state']): Scheduled => {
      const scheduledFor = new Date(start + hour * 60 * minuteMs);
      return { name: scheduledName(scheduledFor), state, scheduledFor };
    };
    const has = [
      one(1, 'ready'),
      one(2, 'reverting'),
      one(3, 'ready'),
      one(4, 'deleting'),
      one(5, 'creating'),
    ];
    const { remove } = snapshotPlan(schedule, new Date(start), new Date(start), has);
    expect(remove).toEqual(['auto-20260101-0100']);
  });
});
