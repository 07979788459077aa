import type { Capabilities } from '@berth/model';

export type CpuFacts = Pick<Capabilities['cpu'], 'vendor' | 'model' | 'virtualisation' | 'secondLevelPaging'>;

/** Facts of the first processor in the text of /proc/cpuinfo (x86). Pure; what is not said is `unknown` or `none`. */
export function parseCpuInfo(text: string): CpuFacts {
  const first = text.split(/\n\s*\n/)[0] ?? '';
  const fields = new Map<string, string>();
  for (const line of first.split('\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields.set(line.slice(0, colon).trim(), line.slice(colon + 1).trim());
  }
  const words = (key: string): Set<string> => new Set((fields.get(key) ?? '').split(/\s+/));
  const flags = words('flags');
  const virtualisation = flags.has('vmx') ? 'vmx' : flags.has('svm') ? 'svm' : 'none';
  return {
    vendor: fields.get('vendor_id') ?? 'unknown',
    model: fields.get('model name') ?? 'unknown',
    virtualisation,
    secondLevelPaging: secondLevel(virtualisation, flags, words('vmx flags')),
  };
}

/** Newer kernels list VMX abilities on a line of their own; older ones mix `ept` into the flags. */
function secondLevel(
  virtualisation: CpuFacts['virtualisation'],
  flags: ReadonlySet<string>,
  vmxFlags: ReadonlySet<string>,
): CpuFacts['secondLevelPaging'] {
  if (virtualisation === 'none') return 'none';
  if (virtualisation === 'svm') return flags.has('npt') ? 'npt' : 'none';
  return flags.has('ept') || vmxFlags.has('ept') ? 'ept' : 'none';
}

/** Value of the kvm module's `nested` parameter: `Y`/`N` since 5.x, `1`/`0` before. */
export function parseNested(text: string | null): boolean {
  return text !== null && /^[Yy1]/.test(text);
}
