import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Why the suite for hosts with VT-x or AMD-V cannot run here, or null. A device that opens proves nothing, so it is
 * measured, as an agent would; what was measured in this boot is remembered.
 */
export async function kvmRefusal() {
  const { AccelProbe } = await import('@berth/kvm');
  // The probe lets a process end that wants to; this one waits.
  const waiting = setInterval(() => undefined, 1_000);
  const probe = new AccelProbe(join(tmpdir(), 'berth-test-accel.json'));
  const { verdict, reason } = await probe.verdict().finally(() => clearInterval(waiting));
  if (verdict === 'usable') return null;
  return (
    `./berth test --kvm needs a machine with VT-x or AMD-V; here KVM is ${verdict} (${reason}). ` +
    'On such a machine: switch virtualisation on in the firmware, load kvm_intel or kvm_amd, and run it as root.'
  );
}
