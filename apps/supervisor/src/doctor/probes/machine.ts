import { statSync, statfsSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { clockSynchronised } from '@berth/linux';
import type { Paths } from '../../paths.js';
import type { DiskFinding, MachineFindings } from '../machine.js';
import { attempt, existing, opens, read } from './attempt.js';

const MIB = 1024 * 1024;

export async function machineFindings(paths: Paths): Promise<MachineFindings> {
  const cpuinfo = read('/proc/cpuinfo') ?? '';
  const flags = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(cpuinfo)?.[1] ?? '';
  const nested = ['kvm_intel', 'kvm_amd']
    .map((module) => read(`/sys/module/${module}/parameters/nested`)?.trim())
    .find((text) => text !== undefined);
  return {
    arch: process.arch,
    memoryMiB: Math.floor(totalmem() / MIB),
    cpus: cpus().length,
    disks: disks(paths),
    kvm: await attempt(() => opens('/dev/kvm')),
    cpuFlags: flags.split(' '),
    nestedKvm: nested === undefined ? null : nested === 'Y' || nested === '1',
    clock: {
      now: Math.floor(Date.now() / 1000),
      built: Math.floor(statSync(fileURLToPath(import.meta.url)).mtimeMs / 1000),
      synchronised: clockSynchronised(),
    },
  };
}

/** Directories on one file system are one finding. */
function disks(paths: Paths): DiskFinding[] {
  const found = new Map<number, DiskFinding>();
  for (const [dir, what] of [
    [paths.state, 'state'],
    [paths.log, 'logs'],
    [tmpdir(), 'temporary files'],
  ] as const) {
    const at = existing(dir);
    const device = statSync(at).dev;
    const known = found.get(device);
    if (known !== undefined) {
      found.set(device, { ...known, holds: [...known.holds, what] });
      continue;
    }
    const disk = statfsSync(at);
    const freeMiB = Math.floor((disk.bavail * disk.bsize) / MIB);
    found.set(device, { dir: at, holds: [what], freeMiB, inodesFree: disk.files === 0 ? null : disk.ffree });
  }
  return [...found.values()];
}
