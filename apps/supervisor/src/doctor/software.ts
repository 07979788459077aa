import { bad, ok, type Check, type Verdict } from './check.js';

export interface SoftwareFindings {
  readonly node: string;
  readonly uid: number;
  /** Wanted Debian packages that are not installed. */
  readonly packagesMissing: readonly string[];
  /** What each program says of its version, null where it is not installed. */
  readonly versions: Readonly<Record<Program, string | null>>;
}

export type Program = 'qemu' | 'libvirt' | 'runc' | 'crun' | 'conmon' | 'dnsmasq' | 'nft';

interface Floor {
  readonly verdict: Exclude<Verdict, 'ok'>;
  readonly least: string;
  readonly why: string;
}

/**
 * The oldest versions that will do. Debian 12's are what the tests run on; `fail` stands where something that Berth uses
 * is known not to be there before, `warn` where only nobody has tried.
 */
const floors: Readonly<Record<Program, Floor>> = {
  qemu: { verdict: 'warn', least: '6.2', why: 'older ones were never tried' },
  libvirt: { verdict: 'warn', least: '8.0', why: 'older ones were never tried' },
  runc: {
    verdict: 'fail',
    least: '1.1',
    why: 'candidates before it do not know a default answer of a seccomp filter, which every container’s states',
  },
  crun: { verdict: 'warn', least: '1.8', why: 'older ones were never tried' },
  conmon: { verdict: 'warn', least: '2.1', why: 'older ones were never tried' },
  dnsmasq: { verdict: 'warn', least: '2.86', why: 'older ones were never tried' },
  nft: { verdict: 'fail', least: '0.9', why: 'older ones read no JSON, in which all rules are given' },
};

/** Whether a Node version (`v20.19.0`) is new enough. */
export function nodeSuffices(version: string): boolean {
  return versionAtLeast(version, '20.19');
}

/** Compares the numbers of versions: `1.1.5+ds1` is at least `1.1`. What follows them, a distribution's own, is not looked at. */
export function versionAtLeast(version: string, least: string): boolean {
  const numbers = (text: string): number[] => (/\d+(\.\d+)*/.exec(text)?.[0] ?? '0').split('.').map(Number);
  const have = numbers(version);
  for (const [index, need] of numbers(least).entries()) {
    const part = have[index] ?? 0;
    if (part !== need) return part > need;
  }
  return true;
}

export function softwareChecks(f: SoftwareFindings): Check[] {
  const missing = f.packagesMissing.join(' ');
  return [
    nodeSuffices(f.node) ? ok('node', f.node) : bad('fail', 'node', f.node, 'install Node.js 20.19 or newer'),
    missing === ''
      ? ok('packages', 'all installed')
      : bad('fail', 'packages', `missing: ${missing}`, `apt-get install ${missing}`),
    f.uid === 0 ? ok('user', 'root') : bad('fail', 'user', `uid ${f.uid}`, 'run as root (sudo)'),
    ...(Object.keys(floors) as Program[]).flatMap((program) => versionCheck(program, f.versions[program])),
  ];
}

/** What is not installed is the packages' concern. */
function versionCheck(program: Program, version: string | null): Check[] {
  if (version === null) return [];
  const { verdict, least, why } = floors[program];
  if (versionAtLeast(version, least)) return [ok(program, version)];
  return [bad(verdict, program, `${version}: ${why}`, `install ${program} ${least} or newer`)];
}
