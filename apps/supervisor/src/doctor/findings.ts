import type { Check } from './check.js';
import { forwardingChecks, type ForwardingFindings } from './forwarding.js';
import { kernelChecks, type KernelFindings } from './kernel.js';
import { machineChecks, type MachineFindings } from './machine.js';
import { microvmChecks, type MicrovmFindings } from './microvm.js';
import { serviceChecks, type ServiceFindings } from './services.js';
import { softwareChecks, type SoftwareFindings } from './software.js';

/** What the probes saw; plain data, so that the judgement on it can be tested without a machine. */
export interface Findings {
  readonly software: SoftwareFindings;
  readonly machine: MachineFindings;
  readonly kernel: KernelFindings;
  readonly forwarding: ForwardingFindings;
  readonly microvm: MicrovmFindings;
  readonly services: ServiceFindings;
}

/** Judges what was found. Pure. */
export function checksFrom(f: Findings): Check[] {
  return [
    ...softwareChecks(f.software),
    ...machineChecks(f.machine),
    ...kernelChecks(f.kernel),
    ...forwardingChecks(f.forwarding),
    ...microvmChecks(f.microvm),
    ...serviceChecks(f.services),
  ];
}
