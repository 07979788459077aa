/** Why an image, blob or layer was refused. Codes are stable; texts are for people. */
export type ImageErrorCode =
  /** The archive or manifest does not follow its format. */
  | 'badArchive'
  /** Content does not hash to the digest, or has not the size, that was stated for it. */
  | 'badDigest'
  /** A layer's tar holds an entry that must not be unpacked. */
  | 'badLayer'
  /** A disk image's header is damaged or states something impossible. */
  | 'badDisk'
  /** Well-formed, but a format or feature that Berth does not take. */
  | 'unsupported'
  /** A limit on count, size, depth or time was reached. */
  | 'tooLarge'
  /** A blob that is needed is not in the store. */
  | 'missingBlob'
  /** The work did not finish within its time. */
  | 'deadline'
  /** The host could not do it (disk full, program missing). */
  | 'hostFault';

/** Whose fault a refusal is, in the words of the runtimes that pass it on. */
const blames = {
  badArchive: 'badImage',
  badDigest: 'badImage',
  badLayer: 'badImage',
  badDisk: 'badImage',
  unsupported: 'badImage',
  tooLarge: 'badImage',
  missingBlob: 'imageMissing',
  deadline: 'deadline',
  hostFault: 'hostFault',
} as const satisfies Readonly<Record<ImageErrorCode, string>>;

/** An expected failure in this room. After it nothing half-made is visible. */
export class ImageError extends Error {
  constructor(
    readonly code: ImageErrorCode,
    message: string,
    /** What the user or operator can do about it. */
    readonly remedy: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = 'ImageError';
  }

  get blame(): (typeof blames)[ImageErrorCode] {
    return blames[this.code];
  }
}
