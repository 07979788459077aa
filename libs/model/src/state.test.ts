import { expect, test } from 'vitest';
import type { Desired, InstanceState, Phase, Power } from './instance.js';
import { Desired as desires, Phase as phases, phaseRank, Power as powers } from './instance.js';
import type { StateInputs } from './state.js';
import { deriveState, IllegalTransition, transition, transitions } from './state.js';

/*
 * Every change of one input that a writer of the store can make, from every input there is. The space is small enough
 * to be walked whole, which is better than sampling it.
 */

type Placement = NonNullable<StateInputs['placement']>;
const flags = [false, true];

/** A placement for generation 1; the instance's runGeneration is 1 (current) or 2 (a newer run is asked for). */
function* placements(): Generator<Placement> {
  for (const phase of phases.options)
    for (const power of powers.options)
      for (const hostSilent of flags)
        for (const failed of phase === 'ended' ? flags : [false])
          for (const restarting of phase === 'ended' ? [false] : flags)
            yield { phase, power, runGeneration: 1, hostSilent, failed, restarting };
}

function* inputs(): Generator<StateInputs> {
  for (const desired of desires.options)
    for (const deleting of flags)
      for (const runGeneration of [1, 2]) {
        yield { desired, deleting, runGeneration, placement: null };
        for (const placement of placements()) yield { desired, deleting, runGeneration, placement };
      }
}

const assigned = (runGeneration: number, hostSilent: boolean): Placement => ({
  phase: 'assigned',
  power: 'off',
  runGeneration,
  hostSilent,
  failed: false,
  restarting: false,
});

/** What the next transaction may make of these inputs. */
function* successors(i: StateInputs): Generator<StateInputs> {
  if (!i.deleting) {
    yield { ...i, deleting: true };
    for (const desired of desires.options) {
      yield { ...i, desired };
      yield { ...i, desired, runGeneration: i.runGeneration + 1 };
    }
  }
  const p = i.placement;
  const waits = !i.deleting && (i.desired === 'running' || i.desired === 'paused');
  if (waits && (p === null || (p.phase === 'ended' && i.runGeneration > p.runGeneration)))
    yield { ...i, placement: assigned(i.runGeneration, false) };
  if (p === null || p.phase === 'ended') return;
  if (p.phase === 'assigned') {
    // Withdrawn or refused: what was before it is the newest again.
    yield { ...i, placement: null };
    yield {
      ...i,
      placement: {
        ...p,
        phase: 'ended',
        runGeneration: p.runGeneration - 1,
        failed: false,
        restarting: false,
      },
    };
  }
  yield { ...i, placement: { ...p, hostSilent: !p.hostSilent } };
  for (const next of placements())
    if (phaseRank(next.phase) >= phaseRank(p.phase) || next.restarting === true)
      yield { ...i, placement: { ...next, runGeneration: p.runGeneration, hostSilent: p.hostSilent } };
}

test('every change that a writer can make leads to a state the table allows', () => {
  const missing = new Set<string>();
  for (const before of inputs())
    for (const after of successors(before)) {
      const [from, to] = [deriveState(before), deriveState(after)];
      if (from !== to && !transitions[from].includes(to)) missing.add(`${from} -> ${to}`);
    }
  expect([...missing].sort()).toEqual([]);
});

test('nothing leads out of deleting', () => {
  expect(transitions.deleting).toEqual([]);
  expect(() => transition('deleting', 'running')).toThrow(IllegalTransition);
});

test('what is deleted is deleting, whatever else holds', () => {
  for (const i of inputs()) if (i.deleting) expect(deriveState(i)).toBe('deleting');
});

test('a silent host makes what has not ended unknown, and never what has', () => {
  for (const i of inputs())
    if (!i.deleting && i.placement?.hostSilent === true)
      expect(deriveState(i) === 'unknown').toBe(i.placement.phase !== 'ended');
});

test('a newer run never starts beside a living one', () => {
  for (const i of inputs()) {
    const p = i.placement;
    if (
      i.deleting ||
      p === null ||
      p.phase === 'ended' ||
      p.hostSilent ||
      i.runGeneration === p.runGeneration
    )
      continue;
    expect(deriveState(i)).toBe('stopping');
  }
});

const shown = (desired: Desired, phase: Phase, power: Power, restarting = false): InstanceState =>
  deriveState({
    desired,
    deleting: false,
    runGeneration: 1,
    placement: { phase, power, runGeneration: 1, hostSilent: false, failed: false, restarting },
  });

test('what its host holds up is paused, whatever is wanted of a running one', () => {
  const placement = {
    phase: 'running',
    power: 'paused',
    runGeneration: 1,
    hostSilent: false,
    failed: false,
  } as const;
  const state = (desired: Desired, held: boolean): InstanceState =>
    deriveState({ desired, deleting: false, runGeneration: 1, placement: { ...placement, held } });
  expect([state('running', true), state('paused', true), state('stopped', true)]).toEqual([
    'paused',
    'paused',
    'stopping',
  ]);
  expect(state('running', false)).toBe('resuming');
});

test('a crash restart is shown as running, and a stop meanwhile as stopping', () => {
  expect(shown('running', 'starting', 'off', true)).toBe('running');
  expect(shown('running', 'starting', 'off', false)).toBe('starting');
  expect(shown('stopped', 'starting', 'off', true)).toBe('stopping');
});
