import type { DiskFormat } from '@berth/model';

export interface DiskFacts {
  readonly format: DiskFormat;
  /** Size the guest sees, bytes. */
  readonly virtualSizeBytes: number;
  /** The same in MiB, rounded up. */
  readonly virtualSizeMiB: number;
}
export declare function inspectDisk(path: string): Promise<DiskFacts>;
