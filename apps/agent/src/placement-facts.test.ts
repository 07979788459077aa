import type { ExitInfo } from '@berth/model';
import type { Observation } from '@berth/runtime';
import { describe, expect, it } from 'vitest';
import type { PlacementRecord } from './journal.js';
import { PlacementFacts } from './placement-facts.js';
import type { WorkerPorts } from './worker-ports.js';

const before: ExitInfo = { reason: 'signalled', signal: 'SIGKILL', at: '2026-01-01T00:00:00.000Z' };

/** The facts of a new agent about run 2, whose predecessor was killed. */
function factsOf(started: PlacementRecord['started']): PlacementFacts {
  const record = {
    started,
    exit: null,
    lastExit: before,
    ended: false,
    run: 2,
    assignment: {},
  } as PlacementRecord;
  const ports = {
    bootId: 'this-boot',
    clock: { now: () => new Date('2026-01-01T00:01:00.000Z') },
  } as WorkerPorts;
  return new PlacementFacts(record, ports);
}

/** What a runtime answers that remembers only the run before. */
const remembered = { phase: 'ended', power: 'crashed', exit: before } as Observation;

describe('what a new agent makes of a runtime that remembers only the run before', () => {
  it('a run that was not started is off, so that it can be', () => {
    const facts = factsOf(null);
    facts.saw(remembered, true);
    expect(facts.power).toBe('off');
    expect(facts.record.exit).toBeNull();
  });

  it('a run that was thought started is lost, so that it can end or be followed by another', () => {
    const facts = factsOf({ at: '2026-01-01T00:00:02.000Z', bootId: 'this-boot' });
    facts.saw(remembered, true);
    expect(facts.power).toBe('off');
    expect(facts.record.exit?.reason).toBe('lost');
  });

  it('said again while this run is up, it changes nothing', () => {
    const facts = factsOf({ at: '2026-01-01T00:00:02.000Z', bootId: 'this-boot' });
    facts.power = 'running';
    facts.saw(remembered, true);
    expect(facts.power).toBe('running');
    expect(facts.record.exit).toBeNull();
  });
});
