import fc from 'fast-check';
import { expect, it } from 'vitest';
import { conclude, type FreezeWitness, type Witness } from './snapshot-conclusion.js';

const freeze: fc.Arbitrary<FreezeWitness> = fc.oneof(
  fc.record({
    by: fc.constant('us' as const),
    frozen: fc.nat({ max: 5 }),
    thawed: fc.option(fc.nat({ max: 5 })),
    inTime: fc.boolean(),
  }),
  fc.record({ by: fc.constant('user' as const), held: fc.boolean() }),
  fc.record({ by: fc.constant('nobody' as const), why: fc.string({ minLength: 1 }) }),
);
const witness: fc.Arbitrary<Witness> = fc.oneof(
  fc.record({ guest: fc.constant('off' as const), closed: fc.boolean() }),
  fc.record({ guest: fc.constant('suspended' as const) }),
  fc.record({
    guest: fc.constant('held' as const),
    disks: fc.integer({ min: 1, max: 65 }),
    stoodStillMs: fc.nat(),
  }),
  fc.record({ guest: fc.constant('up' as const), disks: fc.integer({ min: 1, max: 65 }), freeze }),
);

/** Whether all that was frozen is known to have been frozen to the end. */
const heldAll = (f: FreezeWitness): boolean =>
  f.by === 'user'
    ? f.held
    : f.by === 'us' && f.frozen > 0 && f.inTime && f.thawed !== null && f.thawed >= f.frozen;

it('says exact of what has its memory, application of what was frozen to the end, filesystem of what was shut down, and crash of all else', () => {
  fc.assert(
    fc.property(witness, (seen) => {
      const { consistency, indications } = conclude(seen);
      expect(consistency === 'exact').toBe(seen.guest === 'held');
      expect(consistency === 'application').toBe(seen.guest === 'up' && heldAll(seen.freeze));
      expect(consistency === 'filesystem').toBe(seen.guest === 'off' && seen.closed);
      expect(indications.length).toBeGreaterThan(0);
      expect(indications.every((text) => text !== '')).toBe(true);
    }),
  );
});

it('tells what it was concluded from in numbers', () => {
  const up = { guest: 'up', disks: 2 } as const;
  expect(conclude({ ...up, freeze: { by: 'us', frozen: 2, thawed: 2, inTime: true } }).indications).toEqual([
    'QEMU took its 2 disks in one transaction',
    'the guest agent froze 2 file systems and thawed 2 file systems afterwards',
  ]);
  expect(conclude({ ...up, freeze: { by: 'us', frozen: 2, thawed: 1, inTime: true } })).toMatchObject({
    consistency: 'crash',
    indications: [expect.anything(), expect.stringMatching(/some were thawed before/)],
  });
});
