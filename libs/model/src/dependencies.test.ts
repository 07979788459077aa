import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dependencyCycle, DependsOn, waitingFor, type DependencySeen } from './dependencies.js';

const seen = (change: Partial<DependencySeen>): DependencySeen => ({
  ...{ instance: 'db', condition: 'running', state: 'running', conditions: [], exit: null, probes: [] },
  ...change,
});

describe('what a start waits for', () => {
  it.each<[Partial<DependencySeen>, string | null]>([
    [{}, null],
    [{ state: 'starting' }, 'starting'],
    [{ state: 'unknown' }, 'unknown'],
    [{ state: null }, 'not there: create it, or take it out of dependsOn'],
    [{ condition: 'ready', probes: ['readiness'], conditions: ['Ready'] }, null],
    [{ condition: 'ready', probes: ['readiness'], conditions: ['NotReady'] }, 'not ready yet'],
    [{ condition: 'ready', state: 'paused', probes: ['readiness'], conditions: ['Ready'] }, 'paused'],
    [{ condition: 'ready' }, 'without a readiness probe, which would tell'],
    [{ condition: 'healthy', probes: ['liveness'], conditions: ['Healthy'] }, null],
    [{ condition: 'healthy', probes: ['liveness'], conditions: ['Ready'] }, 'not healthy yet'],
    [{ condition: 'completed' }, 'running'],
    [{ condition: 'completed', state: 'stopped', exit: { reason: 'exited', code: 0 } }, null],
    [{ condition: 'completed', state: 'stopped', exit: { reason: 'guestShutdown' } }, null],
    [
      { condition: 'completed', state: 'error', exit: { reason: 'exited', code: 3 } },
      'error, ended with code 3: start it again',
    ],
    [{ condition: 'completed', state: 'stopped' }, 'stopped, never started: start it again'],
    [
      { condition: 'completed', state: 'stopped', exit: { reason: 'stopped', code: 0 } },
      'stopped, stopped: start it again',
    ],
  ])('of %j is %j', (change, have) => {
    const one = seen(change);
    const waits = waitingFor([seen({ instance: 'other' }), one]);
    expect(waits?.have ?? null).toBe(have);
    if (have !== null) {
      expect(waits?.need).toBe(`db ${one.condition}`);
      expect(waits?.message).toBe(`waits until db is ${one.condition}: it is ${have}`);
    }
  });
});

describe('a circle', () => {
  it('is named from the instance that would close it', () => {
    const edges = new Map([
      ['b', ['x', 'c']],
      ['c', ['a']],
    ]);
    expect(dependencyCycle('a', ['b'], edges)).toEqual(['a', 'b', 'c', 'a']);
    expect(dependencyCycle('a', ['a'], edges)).toEqual(['a', 'a']);
    expect(dependencyCycle('a', ['x'], edges)).toBeNull();
  });

  it('is found exactly where there is one, and is one', () => {
    const names = ['a', 'b', 'c', 'd', 'e', 'f'];
    const some = fc.uniqueArray(fc.constantFrom(...names), { maxLength: 3 });
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...names.slice(1)), some), some, (others, wanted) => {
        const edges = new Map(Object.entries(others));
        const found = dependencyCycle('a', wanted, edges);
        // Whatever is reached from what it wants.
        const reached = new Set(wanted);
        for (const at of reached) for (const next of edges.get(at) ?? []) reached.add(next);
        expect(found !== null).toBe(reached.has('a'));
        const all = new Map([...edges, ['a', wanted]]);
        for (const [i, at] of (found ?? []).slice(0, -1).entries())
          expect(all.get(at)).toContain(found?.[i + 1]);
        if (found !== null) expect([found[0], found.at(-1)]).toEqual(['a', 'a']);
      }),
    );
  });
});

it('names an instance once, and has a condition where none is said', () => {
  expect(DependsOn.parse([{ instance: 'db' }])).toEqual([{ instance: 'db', condition: 'running' }]);
  expect(DependsOn.safeParse([{ instance: 'db' }, { instance: 'db', condition: 'ready' }]).success).toBe(
    false,
  );
});
