import { bad, ok, type Check } from './check.js';

/** What is there of what microVMs boot from. */
export interface MicrovmFindings {
  readonly dir: string;
  /**
   * missing: no whole build · stale: what it is made from has changed since · packed: the kernel unpacks itself at each boot ·
   * ready: as it should be
   */
  readonly boot: 'missing' | 'stale' | 'packed' | 'ready';
}

export function microvmChecks({ dir, boot }: MicrovmFindings): Check[] {
  const check = (found: string, remedy: string): Check[] => [bad('note', 'microVM kernel', found, remedy)];
  switch (boot) {
    case 'missing':
      return check(
        `none in ${dir}: no instance can be a microVM`,
        './berth up fetches and builds it; it says why where it cannot, or set BERTH_MICROVM_DIR to a build',
      );
    case 'stale':
      return check(
        `${dir} was built before its sources changed: microVMs start as the older version says`,
        './berth up builds it anew; a microVM has it from its next start on',
      );
    case 'packed':
      return check(
        `${dir} has a kernel that unpacks itself: every microVM starts slower`,
        `apt-get install lz4 xz-utils zstd, delete ${dir}/key, and run ./berth up, which says why where it stays so`,
      );
    case 'ready':
      return [ok('microVM kernel', `unpacked, in ${dir}`)];
  }
}
