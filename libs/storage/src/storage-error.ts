export type StorageErrorCode =
  /** Too little space is free. */
  | 'noSpace'
  /** The requested size is smaller than the base image. */
  | 'tooSmall'
  /** The volume exists with another kind. */
  | 'kindMismatch'
  /** The base image is missing, or not of the stated format. */
  | 'badBase'
  | 'noSuchSnapshot'
  /** The disk's format holds no snapshots. */
  | 'unsupported'
  | 'hostFault';

/** An expected failure in this room. After it nothing half-made is visible. */
export class StorageError extends Error {
  constructor(
    readonly code: StorageErrorCode,
    message: string,
    /** What the user or operator can do about it. */
    readonly remedy: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = 'StorageError';
  }
}
