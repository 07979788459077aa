import type { DiskFormat, VolumeId } from '@berth/model';

export type VolumeKind = 'disk' | 'layer';
export interface VolumeUsage {
  readonly volumeId: VolumeId;
  readonly kind: VolumeKind;
  /** Bytes allocated on the host. */
  readonly bytes: number;
}
export interface VolumePoolOptions {
  readonly dir: string;
  /** New volumes are refused when less than this would stay free. */
  readonly reserveMiB?: number;
}
export declare class VolumePool {
  constructor(options: VolumePoolOptions);
  ensureOverlayDisk(request: {
    readonly volumeId: VolumeId;
    readonly base: { readonly path: string; readonly format: DiskFormat };
    readonly sizeMiB: number;
  }): Promise<{ readonly path: string; readonly format: 'qcow2' }>;
  ensureLayerDir(request: {
    readonly volumeId: VolumeId;
  }): Promise<{ readonly upper: string; readonly work: string }>;
  remove(volumeId: VolumeId): Promise<void>;
  list(): Promise<VolumeUsage[]>;
  /** One volume, or null when it is not here. */
  stat(volumeId: VolumeId): Promise<VolumeUsage | null>;
  freeMiB(): Promise<number>;
  /** Sweeps what a crash left half-made. Call once at start. */
  clean(): Promise<void>;
}
