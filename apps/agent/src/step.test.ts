import type { ExitInfo } from '@berth/model';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { restartAt, restartsAfter, step } from './step.js';
import type { Action, Observed, Wanted } from './step.js';

const policies = fc.record({
  policy: fc.constantFrom('always' as const, 'onFailure' as const, 'never' as const),
  backoffSeconds: fc.integer({ min: 1, max: 30 }),
  maxBackoffSeconds: fc.integer({ min: 30, max: 300 }),
});
const reasons = fc.constantFrom(
  ...([
    'exited',
    'signalled',
    'oomKilled',
    'guestShutdown',
    'guestCrash',
    'killed',
    'hostBoot',
    'lost',
  ] as const),
);
const exits: fc.Arbitrary<ExitInfo> = fc.record({
  reason: reasons,
  at: fc.constant('2026-01-01T00:00:00.000Z'),
});
const wanteds: fc.Arbitrary<Wanted> = fc.record({
  epoch: fc.integer({ min: 1, max: 3 }),
  power: fc.constantFrom('running' as const, 'paused' as const, 'suspended' as const, 'stopped' as const),
  removed: fc.boolean(),
  restart: policies,
});
const start = Date.parse('2026-01-01T00:00:00.000Z');
const observeds: fc.Arbitrary<Observed> = fc
  .record({
    now: fc.integer({ min: start, max: start + 10_000 }),
    highestEpoch: fc.integer({ min: 1, max: 3 }),
    predecessors: fc.constantFrom('none' as const, 'ended' as const, 'alive' as const),
    ended: fc.boolean(),
    run: fc.integer({ min: 1, max: 5 }),
    power: fc.constantFrom(...(['off', 'running', 'paused', 'suspended', 'crashed'] as const)),
    exit: fc.option(exits),
    imagePresent: fc.boolean(),
    prepared: fc.boolean(),
    restarts: fc.integer({ min: 0, max: 40 }),
    retryAt: fc.option(fc.integer({ min: start, max: start + 20_000 })),
    fatal: fc.option(fc.constant('bad image')),
    canPause: fc.boolean(),
    canSuspend: fc.boolean(),
    held: fc.boolean(),
    behind: fc.boolean(),
    behindBeside: fc.boolean(),
    unhealthy: fc.constant(false),
    offerAt: fc.option(fc.integer({ min: start, max: start + 20_000 })),
  })
  .map((o) => ({
    ...o,
    held: o.held && o.power === 'paused',
    behindBeside: o.behind && o.behindBeside,
    exit: ['running', 'paused', 'suspended'].includes(o.power) ? null : o.exit,
  }));

/** A host that does what it is told. Time passes only when a wait asks for it. */
function obey(seen: Observed, action: Action): Observed {
  const exit = (reason: ExitInfo['reason']): ExitInfo => ({ reason, at: new Date(seen.now).toISOString() });
  switch (action.kind) {
    case 'wait':
      return action.until === null
        ? {
            ...seen,
            power: seen.power ?? 'off',
            predecessors: seen.predecessors === 'alive' ? 'ended' : 'none',
          }
        : { ...seen, now: action.until };
    case 'refuse':
      return { ...seen, ended: true };
    case 'clearPredecessors':
      return { ...seen, predecessors: 'none' };
    case 'fetchImage':
      return { ...seen, imagePresent: true };
    case 'prepare':
      return { ...seen, prepared: true };
    case 'beginRun':
      return {
        ...seen,
        run: action.run,
        restarts: action.restarts,
        exit: null,
        prepared: false,
        unhealthy: false,
      };
    case 'start':
      // One that goes on has what it had before.
      return {
        ...seen,
        power: 'running',
        behind: seen.power === 'suspended',
        behindBeside: seen.power === 'suspended',
      };
    case 'resume':
      return { ...seen, power: 'running' };
    case 'update':
      // What is to go into its drives is put in once it is there.
      return seen.imagePresent
        ? { ...seen, behind: false, behindBeside: false, offerAt: null }
        : { ...seen, behindBeside: false };
    case 'pause':
      return { ...seen, power: 'paused', held: false };
    case 'suspend':
      return { ...seen, power: 'suspended', held: false, prepared: false };
    case 'stop':
      return { ...seen, power: 'off', exit: exit('stopped') };
    case 'endUnhealthy':
      return { ...seen, power: 'off', exit: exit('unhealthy') };
    case 'end':
      return { ...seen, ended: true, exit: action.exit === null ? seen.exit : exit(action.exit.reason) };
    case 'remove':
      return { ...seen, power: 'off', ended: true };
    case 'none':
      // What the host holds, it lets go on by itself.
      return seen.held ? { ...seen, held: false, power: 'running' } : seen;
  }
}

describe('step', () => {
  it('is settled: a state that asks for nothing asks for nothing again, whoever looks', () => {
    fc.assert(
      fc.property(wanteds, observeds, (wanted, seen) => {
        expect(step(wanted, seen)).toEqual(step(wanted, structuredClone(seen)));
      }),
    );
  });

  it('always reaches what is wanted on a host that obeys, within a bounded number of steps', () => {
    fc.assert(
      fc.property(wanteds, observeds, (wanted, first) => {
        let seen = first;
        let action = step(wanted, seen);
        let steps = 0;
        for (; (action.kind !== 'none' || seen.held) && action.kind !== 'remove' && steps < 30; steps++) {
          seen = obey(seen, action);
          action = step(wanted, seen);
        }
        expect(steps).toBeLessThan(30);
        if (action.kind === 'remove') expect(wanted.removed).toBe(true);
        if (seen.ended || action.kind === 'remove') return;
        expect(wanted.power).not.toBe('stopped');
        expect(wanted.epoch).toBeGreaterThanOrEqual(seen.highestEpoch);
        const can = { running: true, paused: seen.canPause, suspended: seen.canSuspend, stopped: true };
        if (can[wanted.power] && (wanted.power !== 'running' || seen.canPause))
          expect(seen.power).toBe(wanted.power);
        expect(['running', 'paused', 'suspended']).toContain(seen.power);
      }),
      { numRuns: 2000 },
    );
  });

  it('never acts on an ended epoch, except to remove it for its tombstone', () => {
    fc.assert(
      fc.property(wanteds, observeds, (wanted, seen) => {
        const { kind } = step(wanted, { ...seen, ended: true });
        expect(wanted.removed ? ['remove', 'wait'] : ['none']).toContain(kind);
      }),
    );
  });

  it('never starts an epoch below the highest this host knows', () => {
    fc.assert(
      fc.property(wanteds, observeds, (wanted, seen) => {
        const lower = { ...seen, highestEpoch: wanted.epoch + 1 };
        expect(['prepare', 'start', 'beginRun', 'resume', 'fetchImage', 'clearPredecessors']).not.toContain(
          step(wanted, lower).kind,
        );
        const untouched = { ...lower, ended: false, power: 'off', exit: null, prepared: false } as const;
        expect(step({ ...wanted, removed: false }, untouched).kind).toBe('refuse');
      }),
    );
  });

  it('never starts while a lower epoch of the instance may still run here', () => {
    fc.assert(
      fc.property(wanteds, observeds, (wanted, seen) => {
        expect(['start', 'prepare']).not.toContain(step(wanted, { ...seen, predecessors: 'alive' }).kind);
      }),
    );
  });

  it('does nothing before the runtime said what it holds', () => {
    fc.assert(
      fc.property(wanteds, observeds, (wanted, seen) => {
        expect(step(wanted, { ...seen, power: null })).toEqual({ kind: 'wait', until: null });
      }),
    );
  });

  it('lets go on nothing that its runtime holds, and tells the runtime of a wish to pause it', () => {
    fc.assert(
      fc.property(wanteds, observeds, (wanted, seen) => {
        const held = {
          ...seen,
          power: 'paused',
          held: true,
          behind: false,
          offerAt: null,
          ended: false,
          exit: null,
          retryAt: null,
        } as const;
        const up = { ...wanted, epoch: seen.highestEpoch, removed: false };
        expect(step({ ...up, power: 'running' }, held).kind).toBe('none');
        expect(step({ ...up, power: 'paused' }, held).kind).toBe(seen.canPause ? 'pause' : 'none');
      }),
    );
  });

  it('prepares what is suspended before it brings it back, in the same run, and starts nothing else for it', () => {
    fc.assert(
      fc.property(wanteds, observeds, (wanted, seen) => {
        const up: Wanted = { ...wanted, epoch: seen.highestEpoch, removed: false };
        let now: Observed = {
          ...seen,
          power: 'suspended',
          held: false,
          ended: false,
          exit: null,
          prepared: false,
        };
        now = { ...now, predecessors: 'none', retryAt: null };
        const kinds: string[] = [];
        for (let action = step(up, now); action.kind !== 'none' && kinds.length < 9; action = step(up, now)) {
          kinds.push(action.kind);
          now = obey(now, action);
        }
        const back = [...(seen.imagePresent ? [] : ['fetchImage']), 'prepare', 'start'];
        const wants = {
          running: [...back, 'update'],
          paused: [...back, ...(seen.canPause ? ['pause'] : []), 'update'],
          suspended: [],
          stopped: ['stop', 'end'],
        };
        expect(kinds).toEqual(wants[up.power]);
      }),
    );
  });

  it('changes what runs only once its power is as wanted, and nothing that does not run', () => {
    fc.assert(
      fc.property(wanteds, observeds, (wanted, seen) => {
        const action = step(wanted, { ...seen, behind: true });
        if (action.kind === 'update') expect(['running', 'paused']).toContain(seen.power);
        // What is to go into a drive is fetched before, and nothing else waits for it.
        if (action.kind === 'update') expect(seen.imagePresent || seen.behindBeside).toBe(true);
        if (action.kind === 'fetchImage' && ['running', 'paused'].includes(seen.power ?? ''))
          expect(seen.behindBeside).toBe(false);
        expect(step(wanted, { ...seen, behind: false, offerAt: null }).kind).not.toBe('update');
        // What it did not take is offered again in time, not before.
        const offered = step(wanted, { ...seen, behind: false, offerAt: seen.now + 1 });
        expect(offered.kind).not.toBe('update');
        if (action.kind === 'update') {
          expect(offered).toEqual({ kind: 'wait', until: seen.now + 1 });
          expect(step(wanted, { ...seen, behind: false, offerAt: seen.now }).kind).toBe('update');
        }
      }),
    );
  });

  it('raises the run before it starts anything again, and only when the policy says so', () => {
    fc.assert(
      fc.property(wanteds, observeds, exits, (wanted, seen, exit) => {
        const crashed: Observed = { ...seen, ended: false, power: 'off', exit, fatal: null };
        const up: Wanted = { ...wanted, epoch: seen.highestEpoch, power: 'running', removed: false };
        const action = step(up, crashed);
        if (!restartsAfter(up.restart, exit)) {
          expect(action).toEqual({ kind: 'end', exit: null });
          return;
        }
        expect(['wait', 'beginRun']).toContain(action.kind);
        if (action.kind === 'beginRun') expect(action.run).toBe(crashed.run + 1);
      }),
    );
  });

  it('doubles the back-off with each crash in a row, up to the most', () => {
    const restart = { policy: 'always', backoffSeconds: 2, maxBackoffSeconds: 20 } as const;
    const exit: ExitInfo = { reason: 'exited', code: 1, at: new Date(start).toISOString() };
    const waits = [0, 1, 2, 3, 4, 5].map((n) => (restartAt(restart, n, exit) - start) / 1000);
    expect(waits).toEqual([2, 4, 8, 16, 20, 20]);
  });

  it('restarts what went down with the host whatever the policy, and does not fight a clean end', () => {
    const never = { policy: 'never', backoffSeconds: 1, maxBackoffSeconds: 1 } as const;
    const at = new Date(start).toISOString();
    expect(restartsAfter(never, { reason: 'hostBoot', at })).toBe(true);
    expect(restartsAfter(never, { reason: 'guestShutdown', at })).toBe(false);
    expect(restartsAfter({ ...never, policy: 'onFailure' }, { reason: 'exited', code: 0, at })).toBe(false);
    expect(restartsAfter({ ...never, policy: 'onFailure' }, { reason: 'exited', code: 3, at })).toBe(true);
  });
});

describe('an unhealthy run', () => {
  it('is ended where it is to be up, and only then; what follows is what follows any other end', () => {
    fc.assert(
      fc.property(
        wanteds,
        observeds,
        fc.constantFrom('running' as const, 'paused' as const),
        (wanted, some, power) => {
          const seen: Observed = { ...some, power, exit: null, held: false, unhealthy: true, retryAt: null };
          const action = step(wanted, seen);
          const toBeUp = !wanted.removed && wanted.power !== 'stopped' && wanted.epoch >= seen.highestEpoch;
          expect(action.kind === 'endUnhealthy').toBe(toBeUp && !seen.ended);
          if (action.kind !== 'endUnhealthy') return;
          const after = obey(seen, action);
          const next = step(wanted, after);
          if (after.fatal !== null || wanted.restart.policy === 'never') expect(next.kind).toBe('end');
          else expect(['wait', 'beginRun']).toContain(next.kind);
        },
      ),
    );
  });
});
