import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { accelVerdict, type AccelSample, type AccelSamples } from './accel-verdict.js';

const sample = (
  outcome: AccelSample['outcome'],
  ticks: readonly number[] = [],
  message: string | null = null,
): AccelSample => ({
  outcome,
  ticks,
  message,
});
const steps = (first: number, each: number, count = 32): number[] =>
  Array.from({ length: count }, (_, i) => first + i * each);
const host = (changes: Partial<AccelSamples>): AccelSamples => ({
  device: null,
  tcg: sample('finished', steps(1.5, 1.9)),
  kvm: sample('finished', steps(0.05, 0.06)),
  kvmPlain: null,
  ...changes,
});

/**
 * Recorded on two busy processors of a cloud machine with QEMU 7.2: `/dev/kvm` opens, but every guest instruction leaves
 * the guest, and QEMU cannot set up the host's own processor.
 */
// prettier-ignore
const trapping = host({
  tcg: sample('finished', [
    1458054, 2199366, 2822404, 3523988, 4163952, 4911036, 5541406, 5961800, 6207526, 6455878, 6698458, 6937268,
    7182214, 7425002, 7673380, 7915830, 16857646, 19626776, 22894274, 25913056, 28678728, 31639452, 34018010, 36310170,
    38540138, 40823120, 46999004, 51187188, 54431286, 57352672, 60069932, 62898212,
  ]),
  kvm: sample('failed', [], 'error: failed to set MSR 0x10a to 0x69'),
  kvmPlain: sample('late', [624312572, 1083452266, 1466934274, 2057783286]),
});

/** The others are made up from what such hosts are known to do: none was at hand. */
describe('the verdict on KVM', () => {
  it.each<[string, AccelSamples, object]>([
    [
      'a host with VT-x or AMD-V',
      host({}),
      { verdict: 'usable', factor: 0.032, reason: 'measured: 32 times as fast as emulation' },
    ],
    [
      'a host without the device',
      host({ device: 'ENOENT' }),
      { verdict: 'absent', reason: '/dev/kvm cannot be used: ENOENT' },
    ],
    ['a module without hardware', host({ device: 'ENODEV' }), { verdict: 'absent' }],
    [
      'a device that may not be opened',
      host({ device: 'EACCES', tcg: null, kvm: null }),
      { verdict: 'unusable', reason: 'measured: /dev/kvm does not open: permission denied' },
    ],
    [
      'a device that only root may open',
      host({
        kvm: sample('failed', [], 'Could not access KVM kernel module: Permission denied'),
        kvmPlain: sample('failed'),
      }),
      { verdict: 'unusable', reason: expect.stringContaining('Permission denied') as string },
    ],
    [
      'a device that opens and hangs',
      host({ kvm: sample('late') }),
      { verdict: 'unusable', reason: 'measured: KVM opens and hangs: no guest instruction was seen to run' },
    ],
    [
      'a guest that hangs half-way',
      host({ kvm: sample('late', steps(0.05, 0.06, 5)) }),
      { verdict: 'unusable', reason: 'measured: a guest hung after 5 parts of the probe' },
    ],
    [
      'a host where each guest instruction traps',
      trapping,
      {
        verdict: 'unusable',
        factor: 580,
        reason:
          'measured: at least 580 times slower than emulation; QEMU fails under KVM: error: failed to set MSR 0x10a to 0x69',
      },
    ],
    [
      'one so slow that it was ended',
      host({ kvm: sample('late', [900, 1800, 2700]) }),
      { verdict: 'unusable', factor: 510, reason: 'measured: at least 510 times slower than emulation' },
    ],
    [
      'a fast host whose processor QEMU cannot give to guests',
      host({ kvm: sample('failed', [], 'error: x'), kvmPlain: sample('finished', steps(0.05, 0.06)) }),
      { verdict: 'unusable', reason: 'measured: QEMU fails under KVM: error: x' },
    ],
    [
      'a host whose counter stands still',
      host({ kvm: sample('finished', steps(0, 0)) }),
      { verdict: 'unusable', reason: expect.stringContaining('hangs') as string },
    ],
    ['a host too busy to emulate', host({ tcg: sample('late', [9000]) }), { verdict: 'unmeasured' }],
    ['a host without QEMU', host({ tcg: sample('failed', [], 'spawn ENOENT') }), { verdict: 'unmeasured' }],
  ])('%s', (_name, samples, verdict) => {
    expect(accelVerdict(samples)).toMatchObject(verdict);
  });

  it('is usable only where all parts ran, with the host processor, faster than under emulation', () => {
    const outcome = fc.constantFrom('finished', 'late', 'failed' as const);
    const runs = fc.record({
      outcome,
      ticks: fc
        .array(fc.double({ min: 0, max: 1e4, noNaN: true }), { maxLength: 4 })
        .map((a) => a.sort((x, y) => x - y)),
      message: fc.constantFrom(null, 'word'),
    });
    const any = fc.record({
      device: fc.constantFrom(null, 'ENOENT', 'EACCES'),
      tcg: fc.option(runs),
      kvm: fc.option(runs),
      kvmPlain: fc.option(runs),
    });
    fc.assert(
      fc.property(any, (samples) => {
        const { verdict, factor } = accelVerdict(samples);
        if (verdict !== 'usable') return;
        expect(samples.device).toBeNull();
        expect(samples.kvm?.outcome).toBe('finished');
        expect(factor).toBeLessThanOrEqual(1);
      }),
    );
  });
});
