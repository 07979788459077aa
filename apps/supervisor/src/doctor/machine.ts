import { bad, ok, type Check } from './check.js';

export interface MachineFindings {
  readonly arch: string;
  readonly memoryMiB: number;
  readonly cpus: number;
  /** File systems that Berth writes to, each once, with what it keeps there. */
  readonly disks: readonly DiskFinding[];
  /** Null when /dev/kvm opens, else why not. */
  readonly kvm: string | null;
  readonly cpuFlags: readonly string[];
  readonly nestedKvm: boolean | null;
  readonly clock: ClockFinding;
}

export interface DiskFinding {
  readonly dir: string;
  readonly holds: readonly ('state' | 'logs' | 'temporary files')[];
  readonly freeMiB: number;
  /** Null where the file system makes inodes as it needs them. */
  readonly inodesFree: number | null;
}

export interface ClockFinding {
  /** Seconds since 1970. */
  readonly now: number;
  /** When this program was built, seconds since 1970. */
  readonly built: number;
  /** The kernel's word on whether somebody keeps its clock right (adjtimex(2)); null where it gives none. */
  readonly synchronised: boolean | null;
}

const NEEDED = {
  state: { fail: 1024, warn: 10 * 1024, why: 'images and root disks need room: 10 GiB or more is sensible' },
  logs: { fail: 50, warn: 500, why: 'each log grows to logMaxMiB before it is turned over' },
  'temporary files': { fail: 20, warn: 200, why: 'probes and seed images are made there' },
} as const;
const INODES = 10_000;

export function machineChecks(f: MachineFindings): Check[] {
  return [
    f.arch === 'x64' || f.arch === 'arm64'
      ? ok('machine', `${f.arch}, ${f.cpus} processors, ${f.memoryMiB} MiB`)
      : bad('fail', 'machine', f.arch, 'use an x86_64 or aarch64 machine'),
    ...f.disks.map(diskCheck),
    ...kvmChecks(f),
    clockCheck(f.clock),
  ];
}

function diskCheck(disk: DiskFinding): Check {
  const name = `disk of ${disk.holds.join(', ')}`;
  const size = disk.freeMiB < 10 * 1024 ? `${disk.freeMiB} MiB` : `${Math.floor(disk.freeMiB / 1024)} GiB`;
  const found = `${size} free at ${disk.dir}`;
  const needs = disk.holds.map((what) => NEEDED[what]);
  const least = Math.max(...needs.map((n) => n.fail));
  if (disk.freeMiB < least)
    return bad(
      'fail',
      name,
      found,
      `make at least ${least} MiB free, or set BERTH_ROOT to a larger file system`,
    );
  if (disk.inodesFree !== null && disk.inodesFree < INODES)
    return bad(
      'warn',
      name,
      `${found}, but only ${disk.inodesFree} inodes`,
      'an image’s layers are thousands of small files: delete some, or make the file system with more inodes',
    );
  const tight = needs.find((n) => disk.freeMiB < n.warn);
  return tight === undefined ? ok(name, found) : bad('warn', name, found, tight.why);
}

function kvmChecks(f: MachineFindings): Check[] {
  const flag = f.cpuFlags.find((x) => x === 'vmx' || x === 'svm');
  if (f.kvm !== null) {
    const remedy =
      flag === undefined
        ? 'guests run in emulation (TCG), which is slow and no boundary between tenants; enable VT-x or AMD-V in the firmware, or nesting in the outer hypervisor'
        : 'modprobe kvm_intel or kvm_amd; guests run in emulation until then';
    return [bad('warn', 'kvm', f.kvm, remedy)];
  }
  const opens = `/dev/kvm opens (${flag ?? 'no CPU flag seen'}); the agent measures whether guests run under it`;
  return [ok('kvm', opens), ...(f.nestedKvm === null ? [] : [nestedCheck(f.nestedKvm)])];
}

function nestedCheck(on: boolean): Check {
  if (on) return ok('nested kvm', 'on');
  return bad(
    'note',
    'nested kvm',
    'off: guests cannot run guests of their own',
    'set nested=1 for kvm_intel or kvm_amd',
  );
}

/** A clock that is wrong breaks certificates, which last a day, and with them every agent's link. */
function clockCheck({ now, built, synchronised }: ClockFinding): Check {
  const shown = new Date(now * 1000).toISOString();
  if (now < built)
    return bad(
      'fail',
      'clock',
      `${shown}, which is before Berth was built`,
      'set the clock: certificates that were just made would not be valid yet',
    );
  if (synchronised === false)
    return bad(
      'warn',
      'clock',
      `${shown}, and nobody keeps it right`,
      'apt-get install chrony; hosts whose clocks are an hour apart refuse each other’s certificates',
    );
  return ok('clock', synchronised === null ? shown : `${shown}, synchronised`);
}
