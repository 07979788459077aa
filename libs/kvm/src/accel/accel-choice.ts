import { RuntimeError, type WorkloadSpec } from '@berth/runtime';
import type { AccelProbe } from './accel-probe.js';

/**
 * KVM where it was measured to work. A wish for it is refused rather than taken for emulation.
 * @throws RuntimeError unsupported
 */
export async function accelChoice(probe: AccelProbe, wish: WorkloadSpec['accel']): Promise<'kvm' | 'tcg'> {
  if (wish === 'tcg') return 'tcg';
  if (wish === 'any') return (await probe.known())?.verdict === 'usable' ? 'kvm' : 'tcg';
  const { verdict, reason } = await probe.verdict();
  if (verdict === 'usable') return 'kvm';
  throw new RuntimeError('unsupported', `KVM is ${verdict} on this host: ${reason}`);
}
