import type { Digest } from '@berth/model';
import type { BlobStore } from './blob-store.js';

export interface LayerLimits {
  /** Bytes of the uncompressed tar. */
  readonly tarBytes: number;
  readonly entries: number;
  /** Components of one path. */
  readonly depth: number;
  readonly timeoutMs: number;
}
export interface LayerRef {
  readonly digest: Digest;
  readonly diffId: Digest;
  readonly mediaType: string;
}
export interface StoredLayer {
  readonly diffId: Digest;
  readonly directory: string;
  readonly bytes: number;
}
export declare class LayerStore {
  constructor(dir: string, blobs: BlobStore, limits?: Partial<LayerLimits>);
  /** Directory with the unpacked, unshifted layer (a lower directory for overlayfs); only root can enter its parent. */
  ensure(layer: LayerRef, signal?: AbortSignal): Promise<string>;
  list(): Promise<StoredLayer[]>;
  remove(diffId: Digest): Promise<void>;
  /** Sweeps what a crash left half-unpacked. Call once at start. */
  clean(): Promise<void>;
}
