import type { Readable } from 'node:stream';
import type { ImageContent } from '@berth/model';
import type { BlobStore } from './blob-store.js';

/** Bounds of one import. */
export interface ArchiveLimits {
  /** Bytes of the whole archive after decompression. */
  readonly totalBytes: number;
  /** Bytes of one blob. */
  readonly blobBytes: number;
  /** Bytes of one index, manifest or configuration. */
  readonly documentBytes: number;
  /** Entries of the archive. */
  readonly entries: number;
  readonly layers: number;
  /** How deep indexes may point to indexes. */
  readonly indexDepth: number;
}
export type OciContent = Extract<ImageContent, { kind: 'oci' }>;

export declare function importArchive(
  stream: Readable,
  blobs: BlobStore,
  limits?: Partial<ArchiveLimits>,
): Promise<OciContent>;
