import type { ImageErrorCode } from './image-error.js';

/** Bounds of unpacking one layer. */
export interface LayerLimits {
  /** Bytes of the uncompressed tar. */
  readonly tarBytes: number;
  readonly entries: number;
  /** Components of one path. */
  readonly depth: number;
  /** Time for one layer, milliseconds. */
  readonly timeoutMs: number;
}

/** What the child is told, as JSON in its only argument. The layer comes on standard input. */
export interface UnpackOrder {
  /** User and group that the child becomes before it reads the first byte. */
  readonly id: number;
  readonly directory: string;
  readonly gzip: boolean;
  readonly limits: LayerLimits;
}

/** What the child answers, as JSON on descriptor 3. */
export type UnpackAnswer =
  | {
      readonly ok: true;
      /** Digest of the uncompressed stream. */
      readonly diffId: string;
      /** Bytes of the files that were unpacked. */
      readonly bytes: number;
      readonly entries: number;
      /** Directories that hide what lower layers have; the parent marks them, it alone may set trusted attributes. */
      readonly opaque: readonly string[];
      /** Device nodes that were left out. */
      readonly devices: number;
    }
  | { readonly ok: false; readonly code: ImageErrorCode; readonly message: string };
