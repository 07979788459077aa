import { keyText, type WorkloadKey } from '../runtime.js';
import type { SimulatedHost, SimulatedWorkload } from '../simulated-host.js';

export const of = (host: SimulatedHost, key: WorkloadKey): SimulatedWorkload | undefined =>
  host.state.workloads[keyText(key)];

export const runs = (host: SimulatedHost, key: WorkloadKey): boolean =>
  typeof of(host, key)?.pid === 'number';

/** Starts it again, whatever is true of it. */
export function startAgain(host: SimulatedHost, w: SimulatedWorkload | undefined): void {
  if (w === undefined) return;
  const disk = w.spec.rootVolume.id;
  host.state.disks[disk] = (host.state.disks[disk] ?? 0) + 1;
  w.pid = host.state.nextPid++;
  w.exit = null;
  w.log += `boots=${host.state.disks[disk]}\n`;
}
