import { open, readFile } from 'node:fs/promises';
import type { AccelVerdict, Capabilities } from '@berth/model';
import { accelVerdict } from './accel-verdict.js';
import { parseCpuInfo, parseNested } from './cpu-facts.js';

/** Where the facts are read from; tests point it elsewhere. */
export interface FactPaths {
  readonly cpuinfo: string;
  readonly kvmDevice: string;
  readonly modules: string;
}

const systemPaths: FactPaths = {
  cpuinfo: '/proc/cpuinfo',
  kvmDevice: '/dev/kvm',
  modules: '/sys/module',
};

export interface AccelFacts {
  readonly cpu: Capabilities['cpu'];
  readonly kvm: AccelVerdict;
}

/** What this host says about hardware virtualisation. A device that opens proves nothing: the verdict needs a measurement. */
export async function accelFacts(paths: FactPaths = systemPaths): Promise<AccelFacts> {
  const facts = parseCpuInfo(await readFile(paths.cpuinfo, 'utf8'));
  const device = await deviceFault(paths.kvmDevice);
  const module = facts.virtualisation === 'svm' ? 'kvm_amd' : 'kvm_intel';
  const nested = parseNested(await readOptional(`${paths.modules}/${module}/parameters/nested`));
  return { cpu: { ...facts, nested, kvmDevice: device === null }, kvm: verdict(device) };
}

function verdict(device: string | null): AccelVerdict {
  if (device !== null) return accelVerdict({ device, tcg: null, kvm: null, kvmPlain: null });
  return { verdict: 'unmeasured', reason: 'measured: not yet' };
}

/** Whether machines here are a boundary between tenants: emulation is none. */
export function isTenantBoundary(kvm: AccelVerdict): boolean {
  return kvm.verdict === 'usable';
}

/** Null when the device opens for reading and writing, else the error code. */
export async function deviceFault(path = systemPaths.kvmDevice): Promise<string | null> {
  try {
    await (await open(path, 'r+')).close();
    return null;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown error';
  }
}

async function readOptional(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return null;
  }
}
