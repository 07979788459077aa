import type { AccelVerdict } from '@berth/model';

/** One run of the probe payload. */
export interface AccelSample {
  /** `late`: it was ended at the limit. `failed`: QEMU ended by itself. */
  readonly outcome: 'finished' | 'late' | 'failed';
  /** Ticks of the host's time stamp counter from long mode to the end of each part that was reached, of `2 × PARTS`. */
  readonly ticks: readonly number[];
  /** What QEMU said, or null. */
  readonly message: string | null;
}

export interface AccelSamples {
  /** Error code of opening `/dev/kvm`, or null where it opens. */
  readonly device: string | null;
  readonly tcg: AccelSample | null;
  /** Under KVM with the host's own processor, which is what machines get. */
  readonly kvm: AccelSample | null;
  /** Under KVM with a plain processor: only where QEMU failed with the host's. */
  readonly kvmPlain: AccelSample | null;
}

const MISSING: ReadonlySet<string> = new Set(['ENOENT', 'ENXIO', 'ENODEV']);

/** What the samples of a host mean for machines that want KVM. Pure. */
export function accelVerdict(samples: AccelSamples): AccelVerdict {
  const { device, tcg, kvm, kvmPlain } = samples;
  if (device !== null)
    return MISSING.has(device)
      ? { verdict: 'absent', reason: `/dev/kvm cannot be used: ${device}` }
      : unusable(`/dev/kvm does not open: ${device === 'EACCES' ? 'permission denied' : device}`);
  if (tcg?.outcome !== 'finished' || kvm === null)
    return {
      verdict: 'unmeasured',
      reason: `the probe did not run: ${tcg?.message ?? 'emulation was too slow'}`,
    };
  const ran = kvm.outcome === 'failed' ? (kvmPlain ?? kvm) : kvm;
  const failure =
    kvm.outcome === 'failed' ? `QEMU fails under KVM: ${kvm.message ?? 'it said nothing'}` : null;
  const factor = slowness(ran, tcg);
  if (factor === null)
    return unusable(failure ?? 'KVM opens and hangs: no guest instruction was seen to run');
  const least = ran.outcome === 'late' ? 'at least ' : '';
  if (factor >= 1)
    return unusable(joined(`${least}${shown(factor)} times slower than emulation`, failure), factor);
  if (failure !== null) return unusable(failure, factor);
  if (ran.outcome === 'late')
    return unusable(`a guest hung after ${ran.ticks.length} parts of the probe`, factor);
  return {
    verdict: 'usable',
    reason: `measured: ${shown(1 / factor)} times as fast as emulation`,
    factor: rounded(factor),
  };
}

/** How many times as long as emulation took for the same parts. Null when none was reached. */
function slowness(ran: AccelSample, tcg: AccelSample): number | null {
  const reached = Math.min(ran.ticks.length, tcg.ticks.length);
  const own = ran.ticks[reached - 1];
  const emulated = tcg.ticks[reached - 1];
  if (own === undefined || emulated === undefined) return null;
  // A counter that stands still or goes back measures nothing.
  return own > 0 && emulated > 0 ? own / emulated : null;
}

function unusable(reason: string, factor?: number): AccelVerdict {
  return {
    verdict: 'unusable',
    reason: `measured: ${reason}`,
    ...(factor === undefined ? {} : { factor: rounded(factor) }),
  };
}

const joined = (first: string, second: string | null): string =>
  second === null ? first : `${first}; ${second}`;
const rounded = (factor: number): number => Number(factor.toPrecision(2));
const shown = (factor: number): string => String(rounded(factor));
