import type { HostId } from '@berth/model';
import { describe, expect, it } from 'vitest';
import { type ReconcileDeps, reconcileStart, tasks, type Timers } from './reconcile.js';

/** Timers that fire only when told to. */
class ManualTimers implements Timers {
  readonly tasks = new Map<number, (() => void)[]>();
  every(ms: number, task: () => void): () => void {
    const list = this.tasks.get(ms) ?? [];
    list.push(task);
    this.tasks.set(ms, list);
    return () => list.splice(list.indexOf(task), 1);
  }
  fire(): void {
    for (const list of this.tasks.values()) for (const t of [...list]) t();
  }
}

const nothing = {
  operationsExpire: () => Promise.resolve([]),
  hostsSilentMark: () => Promise.resolve([]),
  placementsWithdraw: () => Promise.resolve([]),
  deletionsAdvance: () => Promise.resolve([]),
  snapshotSchedulesAdvance: () => Promise.resolve([]),
  idempotencyTrim: () => Promise.resolve(0),
  hostSessionsTrim: () => Promise.resolve(0),
  browserSessionsTrim: () => Promise.resolve(0),
  exportsExpire: () => Promise.resolve([]),
  eventsTrim: () => Promise.resolve(0),
  terminalTicketsTrim: () => Promise.resolve(0),
};

function deps(store: Partial<ReconcileDeps['store']>, woken: string[], errors: string[] = []): ReconcileDeps {
  return {
    store: { ...nothing, ...store },
    clock: { now: () => new Date(0) },
    log: { error: (c) => errors.push(String((c as { loop: string }).loop)) },
    silentAfterMs: 15_000,
    eventsKeptMs: 1000,
    imports: { takeUp: () => Promise.resolve() },
    unused: { collect: () => Promise.resolve() },
    wake: {
      scheduler: () => woken.push('scheduler'),
      dispatch: (h) => woken.push(`dispatch ${h}`),
      operations: () => woken.push('operations'),
    },
  };
}

describe('reconcile', () => {
  it('wakes dispatch for the hosts whose lists a deletion changed', async () => {
    const woken: string[] = [];
    const timers = new ManualTimers();
    const stop = reconcileStart(
      deps(
        {
          deletionsAdvance: () => Promise.resolve(['h1' as HostId]),
          exportsExpire: () => Promise.resolve(['h2' as HostId]),
        },
        woken,
      ),
      timers,
    );
    timers.fire();
    await stop();
    expect(woken).toContain('dispatch h1');
    expect(woken).toContain('dispatch h2');
  });

  it('keeps the newest few sessions of a host', async () => {
    const kept: number[] = [];
    const timers = new ManualTimers();
    const hostSessionsTrim = (keep: number): Promise<number> => Promise.resolve(kept.push(keep));
    const stop = reconcileStart(deps({ hostSessionsTrim }, []), timers);
    timers.fire();
    await stop();
    expect(kept).toEqual([20]);
  });

  it('does not start a round beside one that is under way, and stop waits for it', async () => {
    let started = 0;
    let finish: () => void = () => undefined;
    const slow = new Promise<never[]>((resolve) => (finish = () => resolve([])));
    const timers = new ManualTimers();
    const stop = reconcileStart(
      deps(
        {
          operationsExpire: () => {
            started++;
            return slow;
          },
        },
        [],
      ),
      timers,
    );
    timers.fire();
    timers.fire();
    const stopped = stop();
    finish();
    await stopped;
    expect(started).toBe(1);
    expect([...timers.tasks.values()].flat()).toEqual([]);
  });

  it('a round that fails is told and does not stop the others', async () => {
    const errors: string[] = [];
    const woken: string[] = [];
    const timers = new ManualTimers();
    const stop = reconcileStart(
      deps({ hostsSilentMark: () => Promise.reject(new Error('database away')) }, woken, errors),
      timers,
    );
    timers.fire();
    await stop();
    expect(errors).toEqual([tasks.find((t) => t.name.includes('silent'))?.name]);
    expect(woken).toContain('scheduler');
  });
});
