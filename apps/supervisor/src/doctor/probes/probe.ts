import type { Config } from '../../config.js';
import type { Paths } from '../../paths.js';
import type { Findings } from '../findings.js';
import { forwardingFindings } from './forwarding.js';
import { kernelFindings } from './kernel.js';
import { machineFindings } from './machine.js';
import { microvmFindings } from './microvm.js';
import { serviceFindings } from './services.js';
import { softwareFindings } from './software.js';

/** Looks at the machine. Everything a probe makes, it takes away again; nothing is changed. */
export async function probeMachine(paths: Paths, config: Config): Promise<Findings> {
  const [software, machine, kernel, forwarding, microvm, services] = await Promise.all([
    softwareFindings(),
    machineFindings(paths),
    kernelFindings(paths),
    forwardingFindings(),
    microvmFindings(),
    serviceFindings(paths, config),
  ]);
  return { software, machine, kernel, forwarding, microvm, services };
}
