import type { ExitInfo, NicId } from '@berth/model';
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

it('the context id of a machine is what its runtime said last', () => {
  const facts = factsOf(null);
  const seen = { phase: 'running', power: 'running', exit: null } as Observation;
  facts.record.started = { at: '2026-01-01T00:00:02.000Z', bootId: 'this-boot' } as never;
  expect(facts.vsockCid).toBeNull();
  facts.saw({ ...seen, vsockCid: 65_540 }, true);
  expect(facts.vsockCid).toBe(65_540);
  facts.saw(seen, true);
  expect(facts.vsockCid).toBeNull();
});

describe('the nics of a machine, as they are told', () => {
  const [one, other] = ['n1', 'n2'] as unknown as [NicId, NicId];
  function machine(...ids: NicId[]): PlacementRecord['assignment'] {
    const rootVolume = { id: 'v', sizeMiB: 8 };
    const sizes = { vcpus: 1, cpuMillis: null, memoryMiB: 64 };
    const nics = ids.map((id) => ({ id }));
    return {
      revision: 1,
      workload: { isolation: 'vm', rootVolume, volumes: [], nics, ...sizes },
    } as unknown as PlacementRecord['assignment'];
  }
  const known = (): PlacementFacts => {
    const record = { started: null, run: 1, assignment: machine(one) } as PlacementRecord;
    const ports = {
      bootId: 'this-boot',
      clock: { now: () => new Date('2026-01-01T00:01:00.000Z') },
      journal: { save: () => Promise.resolve() },
      disksKnown: () => undefined,
    } as unknown as WorkerPorts;
    return new PlacementFacts(record, ports);
  };

  it('are those it was started with, then what its runtime says, and not known of a run that begins', async () => {
    const facts = known();
    expect(facts.nics).toBeNull();
    facts.startBegins();
    facts.record.assignment = machine(one, other);
    facts.startedWhole();
    expect(facts.nics).toEqual([one]);
    expect(facts.behind).toBe(true);
    const has = { volumes: [], nics: [one, other], sizes: { vcpus: 1, cpuMillis: null, memoryMiB: 64 } };
    facts.broughtTo(machine(one, other), { ...has, unsettled: [] });
    expect([facts.nics, facts.behind, facts.offerAt]).toEqual([[one, other], false, null]);

    // One that its guest has not let go of is had still, named, and asked for again.
    facts.record.assignment = { ...machine(one), revision: 2 };
    expect(facts.behind).toBe(true);
    facts.broughtTo(facts.record.assignment, {
      ...has,
      unsettled: [{ field: 'nics', why: 'its guest has not let go of nic 02:00' }],
    });
    expect(facts.nics).toEqual([one, other]);
    expect(facts.restart).toMatchObject({
      reason: 'NotTaken',
      message: 'takes effect at the next start: nics (its guest has not let go of nic 02:00)',
    });
    expect(facts.offerAt).not.toBeNull();
    await facts.beginRun(2, 0);
    expect(facts.nics).toBeNull();
  });
});
